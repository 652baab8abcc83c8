"""Which of the arrays of a file are inputs and labels, and of which split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onefold.errors import DataError, SettingError, nearest
from onefold.sources.data import SPLIT_NAMES, Request

INPUTS = ("x", "X", "inputs", "images", "data", "features", "arr_0")
LABELS = ("y", "Y", "labels", "label", "targets", "target", "masks", "arr_1")


@dataclass(frozen=True)
class Chosen:
    """Names of arrays of one split.

    Attributes:
        inputs: names of the inputs.
        labels: name of the labels; None if there are none.
        keys: the names of the inputs without that of the split.
        whole: the test split has arrays of its own.
        training_labels: name of the training split's labels; None if there are none.
    """

    inputs: tuple[str, ...]
    labels: str | None
    keys: tuple[str, ...]
    whole: bool
    training_labels: str | None


def chosen_arrays(names: Sequence[str], request: Request, path: Path) -> Chosen:
    """The arrays of the wanted split, by the options `inputs` and `labels` or by usual names.

    Args:
        names: of all arrays.
        request: the request.
        path: the file or folder, for messages.

    Raises:
        DataError: there is no such array, or none with a usual name, or none of the split.
        SettingError: an option is no name, or names an array of another split.
    """
    options, text = request.name.options, request.name.text
    keys = _listed(options.get("inputs"), "inputs", text)
    if not keys:
        keys = (_usual(names, request, path),)
    found = [_found(names, key, request, path, "inputs") for key in keys]
    whole = found[0][1]
    key = _label_key(names, request)
    if key is None:
        return Chosen(tuple(name for name, _ in found), None, keys, whole, None)
    label, labels_whole = _found(names, key, request, path, "labels")
    if labels_whole != whole:
        raise DataError(
            f"{path} has a test split of the {'inputs' if whole else 'labels'} alone; save"
            f" {'labels' if whole else 'inputs'} of both splits."
        )
    training = label
    if whole and request.split == "test":
        stem = _unmarked(key) if key in names else key
        training = _of_split(names, stem, "train") or (stem if stem in names else label)
    return Chosen(tuple(name for name, _ in found), label, keys, whole, training)


def _label_key(names: Sequence[str], request: Request) -> str | None:
    """What the option `labels` names, or the usual name of labels; None if there are none."""
    options, text = request.name.options, request.name.text
    if "labels" not in options:
        return next((key for key in LABELS if _has(names, key)), None)
    given = _listed(options["labels"], "labels", text)
    if len(given) > 1:
        raise SettingError(f"The option labels of '{text}' must name one array, or none.")
    return given[0] if given else None


def _has(names: Sequence[str], key: str) -> bool:
    return key in names or any(_of_split(names, key, split) for split in SPLIT_NAMES)


def _listed(value: Any, option: str, text: str) -> tuple[str, ...]:
    """The names that an option holds."""
    if value is None:
        return ()
    values = value if isinstance(value, tuple | list) else (value,)
    if isinstance(value, bool) or not values or not all(str(one).strip() for one in values):
        raise SettingError(f"The option {option} of '{text}' must be names of arrays.")
    return tuple(str(one).strip().removesuffix(".npy") for one in values)


def _usual(names: Sequence[str], request: Request, path: Path) -> str:
    """The usual name of inputs that arrays have, or that of a .npy file."""
    if path.is_dir() and request.name.path.suffix == ".npy":
        return request.name.path.stem
    for key in INPUTS:
        if _has(names, key):
            return key
    raise DataError(
        f"{path} has the arrays {_some(names)}, none of them of a usual name; say which are which,"
        f" as ?inputs={names[0] if names else 'x'}&labels={names[-1] if names else 'y'}."
    )


def _found(
    names: Sequence[str], key: str, request: Request, path: Path, option: str
) -> tuple[str, bool]:
    """The name of an array in the wanted split, and whether the test split has one of its own."""
    stem = _unmarked(key) if key in names else key
    train, test = (_of_split(names, stem, split) for split in ("train", "test"))
    if train is None and key in names and key != test:
        train = key
    if train is None and test is None:
        raise DataError(f"{path} has no array '{key}'; {nearest(key, names)}")
    if request.split == "test":
        return (test, True) if test else (train or key, False)
    if train is None:
        raise DataError(f"{path} has {option} of the test split alone ('{test}'); read that split.")
    return train, test is not None


def _of_split(names: Sequence[str], stem: str, split: str) -> str | None:
    """The name of an array that names its split, as x_train, train_x or train/x."""
    marks = (
        mark
        for word in SPLIT_NAMES[split]
        for mark in (f"{stem}_{word}", f"{word}_{stem}", f"{word}/{stem}")
    )
    return next((name for name in marks if name in names), None)


def _unmarked(name: str) -> str:
    """The name without that of its split."""
    for word in (word for words in SPLIT_NAMES.values() for word in words):
        if name.endswith(f"_{word}"):
            return name.removesuffix(f"_{word}")
        for start in (f"{word}_", f"{word}/"):
            if name.startswith(start):
                return name.removeprefix(start)
    return name


def _some(names: Sequence[str]) -> str:
    return ", ".join(list(names)[:8]) + (", ..." if len(names) > 8 else "") if names else "none"
