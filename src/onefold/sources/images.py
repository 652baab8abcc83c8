"""Decode many image files at once, with Pillow in a pool of threads.

Pillow's decoders release the interpreter's lock.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onefold.errors import DataError, SettingError
from onefold.progress import track
from onefold.sources.names import Name

CHUNK = 256  # images decoded by one task of the pool
OPTIONS = ("mean", "std", "size", "channels")

# Means and standard deviations of the training images in 0..1: CIFAR-10's for images up to 64
# pixels, ImageNet's for larger ones.
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def decode(
    sources: Sequence[bytes | Path],
    describe: Callable[[int], str],
    channels: int = 3,
    size: int | None = None,
) -> Tensor:
    """Decode images into (n, channels, height, width), uint8.

    Args:
        sources: encoded images, as bytes or paths of files.
        describe: the source of image i in words, for the messages.
        channels: 1 (grey) or 3 (colours).
        size: scale the shorter side to that many pixels (bilinear) and cut out the middle square;
            without it all images must be of one size.

    Raises:
        DataError: Pillow is missing, an image cannot be decoded, or the images differ in size.
    """
    need_pillow()

    def one(index: int) -> NDArray[np.uint8]:
        picture = opened(sources[index], lambda: describe(index), "L" if channels == 1 else "RGB")
        if size is not None:
            picture = square(picture, size)
        return np.asarray(picture, dtype=np.uint8)

    first = one(0)
    out = np.empty((len(sources), *first.shape), dtype=np.uint8)

    def chunk(start: int) -> None:
        for index in range(start, min(start + CHUNK, len(sources))):
            pixels = one(index)
            if pixels.shape != first.shape:
                raise DataError(
                    f"{describe(index)} has {pixels.shape[1]}x{pixels.shape[0]} pixels but"
                    f" {describe(0)} {first.shape[1]}x{first.shape[0]}; add ?size=PIXELS to the"
                    " source to scale them all alike."
                )
            out[index] = pixels

    starts = range(0, len(sources), CHUNK)
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for _ in track(pool.map(chunk, starts), "Decoding images", total=len(starts)):
            pass
    array = out[:, None] if channels == 1 else np.ascontiguousarray(out.transpose(0, 3, 1, 2))
    return torch.from_numpy(array)


def need_pillow() -> None:
    """Raise DataError if Pillow is missing."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise DataError(
            'Reading images needs Pillow; install it with: pip install "onefold[vision]".'
        ) from None


def opened(source: bytes | Path, describe: Callable[[], str], mode: str | None) -> Any:
    """A decoded picture.

    Args:
        source: an encoded image, as bytes or the path of a file.
        describe: the source in words, for the message.
        mode: "L" (grey) or "RGB"; None leaves the numbers as they are.

    Raises:
        DataError: it cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return image.copy() if mode is None else image.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{describe()} is no image that Pillow can read ({error}); remove it or put it right."
        ) from error


def normalization(
    name: Name, channels: int, pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The options `mean` and `std` of a source, or the defaults for its images.

    Colour images of up to 64 pixels have CIFAR-10's statistics as their defaults, larger ones
    ImageNet's. Grey images have mean 0 and deviation 1, so they stay in 0..1.

    Args:
        name: the name of the source; each option is one number, or one per channel.
        channels: of the images.
        pixels: the shorter side of the images.

    Raises:
        SettingError: only one of the two is given, one is of the wrong length or no number, or a
            deviation is not positive.
    """
    if ("mean" in name.options) != ("std" in name.options):
        raise SettingError(
            f"The source '{name.text}' gives only one of mean and std; give both, or neither for"
            " the defaults."
        )
    if "mean" not in name.options:
        if channels == 1:
            return (0.0,), (1.0,)
        return CIFAR if pixels <= 64 else IMAGENET
    mean, std = (_per_channel(name, option, channels) for option in ("mean", "std"))
    if min(std) <= 0:
        raise SettingError(f"The option std of '{name.text}' must be above 0.")
    return mean, std


def image_options(name: Name) -> tuple[int, int | None]:
    """The options `channels` (1 or 3) and `size` (pixels, or None) of a source.

    The options `mean` and `std` are checked, too, before anything is read.

    Raises:
        SettingError: an option has an impossible value.
    """
    channels, size = name.options.get("channels", 3), name.options.get("size")
    if channels not in (1, 3):
        raise SettingError(
            f"The option channels of '{name.text}' must be 1 or 3, not {channels!r}."
        )
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise SettingError(
            f"The option size of '{name.text}' must be a whole number of pixels above 0, not"
            f" {size!r}."
        )
    normalization(name, channels, size or 1)
    return channels, size


def _per_channel(name: Name, option: str, channels: int) -> tuple[float, ...]:
    value = name.options[option]
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(values) not in (1, channels) or any(
        isinstance(v, bool) or not isinstance(v, int | float) for v in values
    ):
        raise SettingError(
            f"The option {option} of '{name.text}' must be one number or {channels} separated by"
            f" commas, not {value!r}."
        )
    return tuple(float(v) for v in values)


def square(picture: Any, size: int, smooth: bool = True) -> Any:
    """A picture with its shorter side scaled to `size` pixels, of which the middle is cut out.

    Args:
        picture: of Pillow.
        size: of the square.
        smooth: scale bilinearly, not by the nearest pixel.
    """
    from PIL import Image

    way = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    return picture.resize((width, height), way).crop((left, top, left + size, top + size))
