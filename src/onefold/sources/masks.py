"""Images with masks: DIR/train/images/NAME.png and DIR/train/masks/NAME.png, likewise for test."""

from __future__ import annotations

from pathlib import Path

import torch

from onefold.errors import DataError, SettingError
from onefold.sources.class_names import OPTION, wanted_classes
from onefold.sources.data import SPLIT_NAMES, Request, checks, data_sources, none_left
from onefold.sources.held_out import OPTIONS as SHARE
from onefold.sources.held_out import check_share, cut, split_rows
from onefold.sources.images import CIFAR, IMAGENET, image_options, normalization
from onefold.sources.images import OPTIONS as IMAGE_OPTIONS
from onefold.sources.mask_files import IGNORED, Segmented, decoded, pairs
from onefold.sources.names import Name, check_options

OPTIONS = ("images", "masks", "suffix", "values", *IMAGE_OPTIONS, *SHARE, OPTION)
FOLDERS = {
    "images": ("images", "image", "imgs", "img"),
    "masks": ("masks", "mask", "labels", "annotations", "segmentations"),
}


@data_sources.register("masks:")
def masks(request: Request) -> Segmented:
    """Images with masks of class numbers (masks:DIR), matched by name; options below.

    Files are DIR/train/images/a.jpg and DIR/train/masks/a.png, or DIR/images/train/a.jpg and
    DIR/masks/train/a.png; `images` and `masks` name other folders, `suffix=_mask` what the name of
    a mask has more (a_mask.png). Without folders of splits, DIR/images and DIR/masks are the train
    split, of which `test_share=0.2` holds out that share as the test split, drawn by `seed` (0).

    Images are (n, channels, h, w) float32 in 0..1 before `mean` and `std`, as those of imagefolder;
    of unequal sizes they have ImageNet's. Masks are (n, h, w) int64: the numbers of a grey picture,
    the indices of a palette. 255 becomes -100, which no loss and no score counts.
    `values=0:0,255:1` gives numbers others, and `values=9:ignore` leaves them out. `classes` names
    the classes in the order of their numbers. `size` scales the shorter side and cuts out the
    middle square, of masks by the nearest pixel. Without it images of unequal sizes share no batch.

    Raises:
        DataError: a folder is missing or empty, an image has no mask or a mask no image, they
            differ in size, a mask holds colours or a number without a class, or the masks hold 0
            and 255 alone and `values` does not say what they mean.
        SettingError: an option is unknown or impossible.
    """
    channels, size, values = checked_options(request)
    names = wanted_classes(request.name, request.folder()) or ()
    images, targets, whole = _folders(request)
    found = pairs(images, targets, str(request.name.options.get("suffix", "")))
    if not found:
        raise none_left(request, 0)
    lacking = f"put folders {images.name} and {targets.name} into one of train and one of test"
    rows = cut(split_rows(request, len(found), whole, lacking), request)
    chosen = [found[row] for row in rows.tolist()]
    pictures, numbers = decoded(chosen, channels, size, values, request)
    if names:
        _check_named(numbers, names, chosen, request)
    sides = {picture.shape[1:] for picture in pictures}
    mean, std = normalization(request.name, channels, 1)
    if channels == 3 and "mean" not in request.name.options:
        small = len(sides) == 1 and min(next(iter(sides))) <= 64
        mean, std = CIFAR if small else IMAGENET
    return Segmented(pictures, numbers, mean, std, len(names) or None, names)


def checked_options(request: Request) -> tuple[int, int | None, dict[int, int]]:
    """The options channels, size and values. Raises SettingError or DataError as `masks`."""
    check_options(request.name, OPTIONS)
    check_share(request)
    request.folder()
    channels, size = image_options(request.name)
    return channels, size, _values(request.name)


def _values(name: Name) -> dict[int, int]:
    """The class of every number that the option `values` speaks of."""
    given = name.options.get("values", ())
    found: dict[int, int] = {}
    for part in given if isinstance(given, tuple | list) else (given,):
        number, colon, meaning = str(part).partition(":")
        if not (colon and number.isdigit() and (meaning.isdigit() or meaning == "ignore")):
            raise SettingError(
                f"The option values of '{name.text}' must be numbers with their classes, as"
                f" 0:0,255:1 or 255:ignore, not {part!r}."
            )
        found[int(number)] = IGNORED if meaning == "ignore" else int(meaning)
    return found


def _folders(request: Request) -> tuple[Path, Path, bool]:
    """The folders of the images and of the masks, and whether the test split has its own."""
    folder, options = request.folder(), request.name.options
    usual = [(str(options[what]),) if what in options else names for what, names in FOLDERS.items()]
    tried = {
        split: [_pair(folder, usual, word) for word in words]
        for split, words in SPLIT_NAMES.items()
    }
    found = {split: next(filter(all, both), None) for split, both in tried.items()}
    own = found[request.split] or found["train"]
    plain = _pair(folder, usual, None)
    images, masks = own or plain
    if images and masks:
        return images, masks, found["test"] is not None and own is found[request.split]
    lone = next((one for both in [*tried[request.split], plain] for one in both if one), None)
    there = f"has {lone} alone" if lone else "has no folders of images and masks"
    raise DataError(
        f"The folder {folder} {there}; put both into {folder}/train/{usual[0][0]} and"
        f" {folder}/train/{usual[1][0]}, or name yours, as ?images=img&masks=gt."
    )


def _pair(
    folder: Path, names: list[tuple[str, ...]], split: str | None
) -> tuple[Path | None, Path | None]:
    """The folders of images and of masks in that of a split, or the other way round."""

    def first(kinds: tuple[str, ...]) -> Path | None:
        places = [folder / kind for kind in kinds]
        if split is not None:
            places = [folder / split / kind for kind in kinds]
            places += [folder / kind / split for kind in kinds]
        return next((place for place in places if place.is_dir()), None)

    return first(names[0]), first(names[1])


def _check_named(
    numbers: list[torch.Tensor],
    names: tuple[str, ...],
    chosen: list[tuple[Path, Path]],
    request: Request,
) -> None:
    """Raise DataError if a mask holds a class that has no name."""
    for mask, (_, file) in zip(numbers, chosen, strict=True):
        if int(mask.max()) >= len(names):
            raise DataError(
                f"The mask {file} holds the class {int(mask.max())}, but 'classes' of"
                f" '{request.name.text}' names {len(names)}; name all, or say by values what the"
                " number means."
            )


checks["masks:"] = checked_options
