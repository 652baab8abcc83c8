"""Images in the idx format of MNIST and its successors, plain or gzipped.

A file is two zero bytes, a byte for the type (8: unsigned byte), a byte for the number of
dimensions d, d big-endian 32-bit sizes, the data (http://yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from onefold.errors import DataError
from onefold.sources.class_names import OPTION, renumbered, wanted_classes
from onefold.sources.data import Request, class_labels, data_sources, none_left
from onefold.sources.images import normalization
from onefold.sources.loader import Images
from onefold.sources.names import check_options

UNSIGNED_BYTE = 8
PREFIXES = {"train": ("train",), "test": ("t10k", "test")}


@data_sources.register("idx:")
def idx(request: Request) -> Images:
    """MNIST-style idx files (idx:DIR), gzipped or not; options mean, std, classes.

    Images are (n, 1, h, w) in 0..1 before `mean` and `std`. classes=2,0,1 renumbers the labels,
    whose names are their numbers: 2 becomes 0. The files are called train-images-idx3-ubyte,
    train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, or .gz.

    Raises:
        DataError: a file is missing, cut short or of another format, or images and labels are not
            equally many.
        SettingError: an option is unknown or impossible.
    """
    check_options(request.name, ("mean", "std", OPTION))
    mean, std = normalization(request.name, 1, 1)
    folder = request.folder()
    wanted = wanted_classes(request.name, folder)
    images, labels = (_find(folder, what, request) for what in ("images-idx3", "labels-idx1"))
    targets, total = _read(labels, 1, 0, None)
    inputs, count = _read(images, 3, request.skip, request.end)
    if count != total:
        raise DataError(
            f"{images} holds {count} images but {labels} {total} labels; get both files again."
        )
    if request.skip >= total:
        raise none_left(request, total)
    part = slice(request.skip, request.end)
    chosen, classes = class_labels(targets[part].long(), request), int(targets.max()) + 1
    if wanted is None:  # the files hold no names
        return Images(inputs.unsqueeze(1), chosen, classes, mean, std)
    own = [str(number) for number in range(classes)]
    chosen, names = renumbered(chosen, own, wanted, request.name)
    return Images(inputs.unsqueeze(1), chosen, len(names), mean, std, names)


def _find(folder: Path, what: str, request: Request) -> Path:
    """The file of a split, by any of its usual names."""
    for prefix in PREFIXES[request.split]:
        for name in (f"{prefix}-{what}-ubyte", f"{prefix}-{what.replace('-', '.')}-ubyte"):
            for file in (folder / name, folder / f"{name}.gz"):
                if file.is_file():
                    return file
    wanted = f"{PREFIXES[request.split][0]}-{what}-ubyte"
    raise DataError(
        f"The folder {folder} holds no file {wanted} or {wanted}.gz for '{request.name.text}';"
        " check the folder."
    )


def _read(path: Path, dimensions: int, skip: int, end: int | None) -> tuple[Tensor, int]:
    """The items from `skip` to `end` of an idx file (uint8), and the number in its header."""
    try:
        with _open(path) as file:
            head = file.read(4)
            if head != bytes((0, 0, UNSIGNED_BYTE, dimensions)):
                raise DataError(
                    f"{path} is no idx file of unsigned bytes in {dimensions} dimensions; check"
                    " what was downloaded."
                )
            numbers = np.frombuffer(_exactly(file, 4 * dimensions, path), dtype=">u4")
            sizes = numbers.astype(int).tolist()
            stop = sizes[0] if end is None else min(end, sizes[0])
            first = min(skip, stop)
            item = math.prod(sizes[1:])
            _exactly(file, first * item, path)
            data = _exactly(file, (stop - first) * item, path)
            if stop == sizes[0] and file.read(1):
                raise DataError(f"{path} is longer than its header says; get the file again.")
    except (OSError, EOFError, zlib.error) as error:  # gzip reports a damaged file by any of these
        raise DataError(f"{path} cannot be read ({error}); get the file again.") from error
    items = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
    return items.reshape(stop - first, *sizes[1:]), sizes[0]


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else open(path, "rb")


def _exactly(file: BinaryIO, count: int, path: Path) -> bytes:
    """The next `count` bytes of a file. Raises DataError if there are fewer."""
    data = file.read(count)
    if len(data) < count:
        raise DataError(
            f"{path} is cut short: {count - len(data)} bytes are missing; get the file again."
        )
    return data
