"""Image files in one folder per class: DIR/train/CLASS/*.png and DIR/test/CLASS/*.png."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from onefold.errors import DataError
from onefold.sources.class_names import OPTION, renumbered, wanted_classes
from onefold.sources.data import SPLIT_NAMES, Request, data_sources, none_left
from onefold.sources.images import OPTIONS, decode, image_options, normalization
from onefold.sources.loader import Images
from onefold.sources.names import check_options

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}


@data_sources.register("imagefolder:")
def imagefolder(request: Request) -> Images:
    """Image files in class folders (imagefolder:DIR); options size, mean, std, channels, classes.

    Images are (n, channels, h, w) in 0..1 before `mean` and `std`. Without these, colors are
    normalized by the statistics of CIFAR-10 (up to 64 pixels) or ImageNet, grey by none. Classes
    are numbered by the sorted names of the training folders, or in the order of
    classes=NAME,NAME,... or classes=FILE (one name a line), which may name further classes. The
    order of the images is fixed and mixes the classes (it is that of the hashes of their paths), so
    that a `limit` gives a sample of all classes.

    Raises:
        DataError: a folder is missing or without images, a test class is unknown in training, or an
            image cannot be decoded.
        SettingError: an option is unknown or impossible.
    """
    check_options(request.name, (*OPTIONS, OPTION))
    channels, size = image_options(request.name)
    folder = request.folder()
    split = _split_folder(folder, request.split)
    if split is None:
        raise DataError(
            f"The folder {folder} has no sub-folder {' or '.join(SPLIT_NAMES[request.split])}; put"
            " the class folders into one."
        )
    classes = _class_names(_split_folder(folder, "train") or split)
    if unknown := [name for name in _class_names(split) if name not in classes]:
        raise DataError(
            f"The folder {split} has the class '{unknown[0]}', which the training folder does not"
            " have; put it right."
        )
    wanted = wanted_classes(request.name, folder)
    files = [(file, classes.index(name)) for name in classes for file in _images(split / name)]
    if request.skip >= len(files):
        raise none_left(request, len(files))
    files.sort(
        key=lambda pair: hashlib.sha256(pair[0].relative_to(split).as_posix().encode()).digest()
    )
    chosen = files[request.skip : request.end]
    inputs = decode(
        [file for file, _ in chosen], lambda index: str(chosen[index][0]), channels, size
    )
    mean, std = normalization(request.name, channels, min(inputs.shape[-2:]))
    labels, names = renumbered(
        torch.tensor([label for _, label in chosen], dtype=torch.int64),
        classes,
        wanted,
        request.name,
    )
    return Images(inputs, labels, len(names), mean, std, names)


def _split_folder(folder: Path, split: str) -> Path | None:
    return next((folder / name for name in SPLIT_NAMES[split] if (folder / name).is_dir()), None)


def _class_names(folder: Path) -> list[str]:
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )


def _images(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
    )
