"""Files of images and of their masks: matched by name, decoded, in batches of one size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onefold.errors import DataError
from onefold.progress import track
from onefold.sources.data import Request
from onefold.sources.images import need_pillow, opened, square
from onefold.sources.names import Name

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}
LOSSY = {".jpg", ".jpeg"}
IGNORED = -100  # the number that torch's losses leave out
VOID = 255  # by custom a pixel without a class


@dataclass(frozen=True)
class Segmented:
    """Images with masks.

    Attributes:
        inputs: n images (channels, h, w), uint8.
        targets: n masks (h, w), int16 or int32; -100 marks pixels without a class.
        mean: one number, or one per channel, subtracted from images in 0..1.
        std: one number, or one per channel, by which the difference is divided.
        classes: number of classes; None if it is not known.
        names: of the classes in the order of their numbers; () if they are not known.
    """

    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def labels(self) -> Tensor | None:
        """The masks (n, h, w), int64; None if they differ in size."""
        return None if self.groups is not None else torch.stack(list(self.targets)).long()

    @property
    def groups(self) -> Tensor | None:
        """The number (n,) of each image's size, by which batches are formed; None if all agree."""
        sizes = {shape: k for k, shape in enumerate(dict.fromkeys(x.shape for x in self.inputs))}
        if len(sizes) == 1:
            return None
        return torch.tensor([sizes[x.shape] for x in self.inputs])

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """The images at `index`, (n, channels, h, w) float32, and their masks (n, h, w) int64."""
        chosen = torch.arange(len(self))[index].tolist()
        images = torch.stack([self.inputs[k] for k in chosen]).float().div_(255)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        masks = torch.stack([self.targets[k] for k in chosen]).long()
        return images.sub_(mean).div_(std), masks

    def part(self, index: Tensor) -> Segmented:
        """The images at `index` alone."""
        chosen = torch.arange(len(self))[index].tolist()
        return replace(
            self, inputs=[self.inputs[k] for k in chosen], targets=[self.targets[k] for k in chosen]
        )


def pairs(images: Path, masks: Path, suffix: str) -> list[tuple[Path, Path]]:
    """The image and the mask of every name, in a fixed order that mixes folders.

    Args:
        images: folder of images, which may have folders in it.
        masks: folder of masks, with the same folders in it.
        suffix: what the name of a mask has more.

    Raises:
        DataError: an image has no mask or a mask no image, or a name is there twice.
    """
    found, wanted = _named(images, ""), _named(masks, suffix)
    for name, file in found.items():
        if name not in wanted:
            more = sum(other not in wanted for other in found) - 1
            end = f", as {more} more images have none" if more else ""
            raise DataError(
                f"The image {file} has no mask {masks / (name + suffix)}.png{end}; add the mask,"
                " remove the image, or say by suffix= what the names of masks have more."
            )
    for name, file in wanted.items():
        if name not in found:
            raise DataError(f"The mask {file} has no image in {images}; add it or remove the mask.")
    names = sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest())
    return [(found[name], wanted[name]) for name in names]


def _named(folder: Path, suffix: str) -> dict[str, Path]:
    """Files of pictures by their path in the folder, without ending and suffix."""
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith(".") or not file.is_file():
            continue
        name = file.relative_to(folder).with_suffix("").as_posix().removesuffix(suffix)
        if name in found:
            raise DataError(f"The files {found[name]} and {file} have one name; remove one.")
        found[name] = file
    return found


def decoded(
    files: Sequence[tuple[Path, Path]],
    channels: int,
    size: int | None,
    values: Mapping[int, int],
    request: Request,
) -> tuple[list[Tensor], list[Tensor]]:
    """Images (channels, h, w), uint8, and masks (h, w) of class numbers.

    Args:
        files: the files of every image and its mask.
        channels: 1 (grey) or 3 (colours).
        size: of the square that both are brought to; None leaves them as they are.
        values: class of a number in the masks; others are classes themselves, and 255 none.
        request: the request, for messages.

    Raises:
        DataError: a file cannot be decoded, a mask holds colours or has another size than its
            image, or all masks together hold 0 and 255 alone, of which `values` says nothing.
    """
    need_pillow()

    def one(pair: tuple[Path, Path]) -> tuple[NDArray[Any], NDArray[Any]]:
        image, mask = pair
        picture = opened(image, lambda: str(image), "L" if channels == 1 else "RGB")
        numbers = _numbers(mask)
        if numbers.size != picture.size:
            theirs, own = ("x".join(map(str, x.size)) for x in (numbers, picture))
            raise DataError(
                f"The mask {mask} has {theirs} pixels but its image {image} {own}; bring them to"
                " one size."
            )
        if size is not None:
            picture, numbers = square(picture, size), square(numbers, size, smooth=False)
        pixels = np.array(picture, dtype=np.uint8)
        return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1), np.array(numbers)

    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        both = list(track(pool.map(one, files), "Decoding masks", total=len(files)))
    if not values:
        _check_two([mask for _, mask in both], request.name)
    images = [torch.from_numpy(np.ascontiguousarray(image)) for image, _ in both]
    return images, [_classes(mask, {VOID: IGNORED, **values}) for _, mask in both]


def _numbers(file: Path) -> Any:
    """A mask as a picture of whole numbers: grey values, indices of a palette, 0 and 1.

    Raises:
        DataError: it holds colours, or was compressed so that its numbers are others.
    """
    if file.suffix.lower() in LOSSY:
        raise DataError(f"The mask {file} is a JPEG, which changes numbers; save masks as PNG.")
    picture = opened(file, lambda: str(file), None)
    if picture.mode in ("RGB", "RGBA", "LA"):
        bands = [band.tobytes() for band in picture.split()[: 1 if picture.mode == "LA" else 3]]
        if any(band != bands[0] for band in bands):
            raise DataError(
                f"The mask {file} holds colours; save class numbers, as a grey PNG or one with a"
                " palette."
            )
        picture = picture.getchannel(0)
    if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
        raise DataError(
            f"The mask {file} holds numbers of the kind {picture.mode}; save class numbers, as a"
            " grey PNG or one with a palette."
        )
    if picture.mode == "1":  # whose bytes are 0 and 255
        picture = picture.convert("L").point(lambda value: value // 255)
    return picture


def _classes(numbers: NDArray[Any], values: Mapping[int, int]) -> Tensor:
    found = torch.from_numpy(numbers.astype(np.int32))
    known = found.clone()
    for number, meaning in values.items():
        found[known == number] = meaning
    return found.short() if int(found.max()) < 2**15 else found


def _check_two(masks: Sequence[NDArray[Any]], name: Name) -> None:
    """Refuse 0 and 255 alone: two classes, or one class and pixels of none."""
    held = {int(value) for mask in masks for value in np.unique(mask)}
    if VOID in held and held <= {0, VOID}:
        raise DataError(
            f"The masks of '{name.text}' hold the numbers 0 and 255 alone; say what they mean, as"
            " values=0:0,255:1 for two classes, or values=255:ignore."
        )
