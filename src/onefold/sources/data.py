"""A data set by name: the registry of data sources and `build_data`.

A request is checked before anything is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from onefold.errors import DataError, SettingError
from onefold.registry import Registry
from onefold.sources.loader import ExampleSet, ImageBatches, Images, is_example_set
from onefold.sources.names import Name, parse

Split = Literal["train", "test"]

# The names that files or folders of a split may have, in the order of preference.
SPLIT_NAMES: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "validation", "valid", "val"),
}


@dataclass(frozen=True)
class Request:
    """The arguments of `build_data`, for a source.

    Attributes:
        name: the name of the data set with its options.
        split: "train" or "test".
        batch_size: examples per batch.
        limit: the number of examples wanted, from `skip` on; None wants all.
        seed: of the order, if `shuffle` is set.
        shuffle: draw the order of the examples anew for each pass.
        skip: the number of examples left out at the start.
    """

    name: Name
    split: Split = "train"
    batch_size: int = 128
    limit: int | None = None
    seed: int = 0
    shuffle: bool = False
    skip: int = 0

    @property
    def end(self) -> int | None:
        """One past the last example wanted, or None for all."""
        return None if self.limit is None else self.skip + self.limit

    def folder(self) -> Path:
        """The place of the name as an existing folder.

        Raises:
            SettingError: the name has no place.
            DataError: it does not exist or is a file.
        """
        path = self.name.path
        if not self.name.place:
            raise SettingError(
                f"The data source '{self.name.text}' says no folder; write it after the colon."
            )
        if not path.exists():
            raise DataError(
                f"The folder {path} of the data source '{self.name.text}' does not exist; check its"
                " path."
            )
        if not path.is_dir():
            raise DataError(
                f"The data source '{self.name.text}' names a file; give the folder that holds the"
                " data."
            )
        return path


DataSource = Callable[[Request], "ExampleSet | Iterable[Any]"]
data_sources: Registry[DataSource] = Registry("data source")
checks: dict[str, Callable[[Request], Any]] = {}  # of sources whose place is no folder


def build_data(
    name: str,
    *,
    split: Split = "train",
    batch_size: int = 128,
    limit: int | None = None,
    seed: int = 0,
    shuffle: bool = False,
    skip: int = 0,
    **options: Any,
) -> Iterable[Any]:
    """The data set called `name`, as re-iterable batches `(inputs, labels)`.

    Images are (n, c, h, w), float32, normalised, and class numbers (n,), int64. Other sources say
    what theirs are. Batches of a "file.py:factory" are those of the factory.

    Args:
        name: "sklearn:digits", "parquet:DIR", "numpy:FILE.npz" or any other name that
            `onefold methods "data source"` lists, with options as in
            "parquet:DIR?mean=0.5&std=0.25"; the sources' own descriptions list theirs.
        split: "train" or "test"; without test files the validation files are read.
        batch_size: examples per batch; the last batch may be smaller.
        limit: at most this many examples, from `skip` on in the source's fixed order; only these
            are read and decoded.
        seed: of the order if `shuffle` is set; each pass draws a new one, repeatably.
        shuffle: draw the order of the examples anew for each pass.
        skip: leave out this many examples at the start, for a second part that shares none with the
            first.
        **options: the source's options once more; they win over those in the name.

    Raises:
        SettingError: the name, an option or one of the arguments is unknown or impossible.
        DataError: files or columns are missing or damaged, or nothing is left after `skip`.
    """
    if split not in SPLIT_NAMES:
        raise SettingError(f"The split of '{name}' must be 'train' or 'test', not {split!r}.")
    for argument, value, least in (
        ("batch_size", batch_size, 1),
        ("limit", limit, 1),
        ("skip", skip, 0),
    ):
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or value < least
        ):
            raise SettingError(
                f"The {argument} of '{name}' must be a whole number of at least {least}, not"
                f" {value!r}."
            )
    parsed = parse(name, data_sources, options)
    request = Request(parsed, split, batch_size, limit, seed, shuffle, skip)
    data = data_sources.get(parsed.key)(request)
    if isinstance(data, Images):
        _check(data, request)
    if is_example_set(data):
        return ImageBatches(data, batch_size, shuffle=shuffle, seed=seed)
    return cast(Iterable[Any], data)


def check_source(name: str) -> None:
    """Refuse an unusable name before anything is read.

    The error is that of `build_data`, which a program calls only after slower work.

    Raises:
        SettingError: the name or the form of its options is unknown.
        DataError: the folder it names does not exist.
    """
    parsed = parse(name, data_sources, {})
    check = checks.get(parsed.key)
    if check is not None:
        check(Request(parsed))
    elif parsed.key.endswith(":"):
        Request(parsed).folder()


def none_left(request: Request, total: int) -> DataError:
    """The error for a split that has no example, or none after `skip`.

    Args:
        request: the request.
        total: the number of examples in the split.
    """
    what = f"The {request.split} split of '{request.name.text}'"
    if total == 0:
        return DataError(f"{what} is empty; check its files.")
    return DataError(
        f"{what} has {total} examples, so none is left after skipping {request.skip}; skip fewer."
    )


def class_labels(values: Any, request: Request) -> Tensor:
    """Class indices (n,) as int64.

    Args:
        values: the labels (n,), whole numbers from 0.
        request: the request, for the messages.

    Raises:
        DataError: they are no whole numbers, or one is negative (the mark of a split without
            labels).
    """
    labels = torch.as_tensor(values)
    if labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(
            f"The labels of '{request.name.text}' are no class numbers; give a column of whole"
            " numbers from 0."
        )
    if len(labels) and int(labels.min()) < 0:
        least = int(labels.min())
        raise DataError(
            f"The {request.split} split of '{request.name.text}' has the label {least}, so it is"
            " unlabelled; use another split."
        )
    return labels.long()


def _check(images: Images, request: Request) -> None:
    if len(images) == 0:
        raise none_left(request, 0)
    if images.inputs.dim() != 4 or len(images.inputs) != len(images.labels):
        shape, n = tuple(images.inputs.shape), len(images.labels)
        raise DataError(
            f"The source '{request.name.text}' gave inputs of shape {shape} and {n} labels; it must"
            " give (n, c, h, w) and n."
        )
