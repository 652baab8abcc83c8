"""Arrays in files of NumPy: one .npz file, a folder of .npy files, or .npy files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from onefold.errors import DataError, SettingError
from onefold.sources.array_names import chosen_arrays
from onefold.sources.arrays import (
    Array,
    Arrays,
    as_image,
    as_tensor,
    check_lengths,
    usual_statistics,
)
from onefold.sources.class_names import OPTION
from onefold.sources.data import SPLIT_NAMES, Request, checks, data_sources
from onefold.sources.held_out import OPTIONS as SHARE
from onefold.sources.held_out import check_share, cut, split_rows
from onefold.sources.images import normalization
from onefold.sources.label_columns import LabelColumn, one_column
from onefold.sources.names import check_options
from onefold.sources.targets import numbered_classes

OPTIONS = ("inputs", "labels", "keywords", "mean", "std", "scale", *SHARE, OPTION)
LARGE = 64 * 2**20  # bytes of a .npy file above which it is mapped, not read


@dataclass(frozen=True)
class ArrayFiles:
    """Arrays by name, read when they are asked for.

    Attributes:
        path: the file or the folder.
        readers: a function for every name, which reads the array.
        mapped: names of arrays that stay in their files.
    """

    path: Path
    readers: dict[str, Callable[[], NDArray[Any]]]
    mapped: frozenset[str] = frozenset()

    def described(self, name: str) -> str:
        """The array in messages."""
        return f"The array '{name}' of {self.path}"

    def read(self, name: str) -> NDArray[Any]:
        """The array of that name.

        Raises:
            DataError: it cannot be read, or holds Python objects.
        """
        try:
            return self.readers[name]()
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            reason = str(error).split("\n")[0].rstrip(".")
            if reason.startswith("Object arrays"):
                raise DataError(
                    f"{self.described(name)} holds Python objects, which may run code when they"
                    " are read; save it as numbers, of one shape in every row."
                ) from None
            if "pickle" in reason:  # NumPy's words on a file that does not begin as its own do
                reason = "it was not written by numpy.save"
            raise DataError(
                f"{self.described(name)} cannot be read ({reason}); save it again."
            ) from error

    def array(self, name: str, **options: Any) -> Array:
        """The array of that name as a tensor. Raises DataError as `read`."""
        text = self.described(name)
        tensor = as_tensor(self.read(name), text)
        return Array(tensor, text, mapped=name in self.mapped, **options)


@data_sources.register("numpy:")
def numpy_files(request: Request) -> Arrays:
    """NumPy arrays (numpy:FILE.npz, numpy:DIR, numpy:FILE.npy); options below.

    `inputs` and `labels` name arrays; `inputs=a,b` several, `labels=none` none. Without them
    x_train, y_train, x_test and y_test are found, and likewise images, data or features, and
    labels or targets. In a folder an array is a file x_train.npy or train/x.npy. Arrays that do not
    name a split are the train split; `test_share=0.2` holds out that share of their rows as the
    test split, drawn by `seed` (0). `keywords=true` gives the inputs to the network by name.

    Floating-point numbers become float32, whole numbers int64. Bytes (n, h, w), (n, c, h, w) or
    (n, h, w, c) of 1 or 3 channels are images: they become (n, c, h, w) in 0..1 before `mean` and
    `std`, whose defaults are those of imagefolder. `scale=false` leaves bytes as whole numbers of
    the shape that they have. `mean` and `std` do for other numbers too, one for all or per channel
    (axis 1). Large .npy files are mapped, not read.

    Labels keep their shape, but whole numbers (n, 1) become (n,). Texts become numbers in the order
    of their names, or of `classes`. Of several numbers in a row nan is one that is missing.

    Raises:
        DataError: a file or an array is missing, damaged, empty or holds Python objects, nan or
            infinite numbers; arrays have unequal numbers of rows; there is no such split.
        SettingError: an option is unknown or impossible.
    """
    files = checked_files(request)
    chosen = chosen_arrays(list(files.readers), request, files.path)
    scale = request.name.options.get("scale", True)
    inputs = tuple(
        _input(files.array(name), request, scale, len(chosen.inputs)) for name in chosen.inputs
    )
    target, classes, names = _target(files, chosen.labels, chosen.training_labels, request)
    everything = inputs if target is None else (*inputs, target)
    lacking = "save arrays x_test and y_test beside those of training"
    rows = cut(split_rows(request, check_lengths(everything), chosen.whole, lacking), request)
    return Arrays(
        tuple(array.checked(rows) for array in inputs),
        None if target is None else target.checked(rows),
        rows,
        chosen.keys if request.name.options.get("keywords") else (),
        classes,
        names,
    )


def checked_files(request: Request) -> ArrayFiles:
    """The arrays that a name stands for; none is read.

    Raises:
        DataError: the file or folder does not exist, or is none of NumPy.
        SettingError: an option is unknown or impossible, or the name says no place.
    """
    name = request.name
    check_options(name, OPTIONS)
    check_share(request)
    for option in ("scale", "keywords"):
        if not isinstance(name.options.get(option, True), bool):
            raise SettingError(
                f"The option {option} of '{name.text}' must be true or false, not"
                f" {name.options[option]!r}."
            )
    if not name.place:
        raise SettingError(f"The data source '{name.text}' says no file; write it after the colon.")
    path = name.path
    if not path.exists():
        raise DataError(f"The file {path} of '{name.text}' does not exist; check its path.")
    if path.is_dir():
        return _folder(path, dict(_files(path)), name.text)
    if path.suffix == ".npz":
        return _npz(path)
    if path.suffix == ".npy":
        return _folder(path.parent, {file.stem: file for file in path.parent.glob("*.npy")}, path)
    raise DataError(f"The file {path} is neither .npz nor .npy; save it with numpy.savez.")


def _npz(path: Path) -> ArrayFiles:
    try:
        opened = np.load(path, allow_pickle=False)
        names = list(opened.files)
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        reason = "it is empty" if not path.stat().st_size else str(error).split("\n")[0].rstrip(".")
        raise DataError(
            f"{path} is no file of numpy.savez ({reason}); save the arrays again."
        ) from error
    return ArrayFiles(path, {name: partial(opened.__getitem__, name) for name in names})


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The .npy files of a folder and of its folders of splits, with their names."""
    for file in sorted(folder.glob("*.npy")):
        yield file.stem, file
    for split in (name for names in SPLIT_NAMES.values() for name in names):
        for file in sorted((folder / split).glob("*.npy")):
            yield f"{split}/{file.stem}", file


def _folder(folder: Path, files: dict[str, Path], name: object) -> ArrayFiles:
    if not files:
        raise DataError(
            f"The folder {folder} of '{name}' holds no .npy file; save arrays there with"
            " numpy.save, or name a .npz file."
        )
    mapped = frozenset(key for key, file in files.items() if file.stat().st_size > LARGE)

    def reader(key: str) -> Callable[[], NDArray[Any]]:
        # "c" lets nothing be written to the file, and torch take the array without a warning
        mode: Any = "c" if key in mapped else None
        return lambda: np.load(files[key], mmap_mode=mode, allow_pickle=False)

    return ArrayFiles(folder, {key: reader(key) for key in files}, mapped)


def _input(array: Array, request: Request, scale: bool, count: int) -> Array:
    """An array of inputs with its normalisation."""
    options = request.name.options
    image = as_image(array.values) if scale else None
    asked = "mean" in options or "std" in options
    if image is not None:
        mean, std = usual_statistics(image)
        if asked:
            mean, std = normalization(request.name, image.shape[1], 1)
        return Array(image, array.name, True, mean, std, array.mapped)
    if asked and count == 1:
        channels = array.values.shape[1] if array.values.dim() > 1 else 1
        mean, std = normalization(request.name, channels, 1)
        return Array(array.values, array.name, False, mean, std, array.mapped)
    return array


def _target(
    files: ArrayFiles, name: str | None, training: str | None, request: Request
) -> tuple[Array | None, int | None, tuple[str, ...]]:
    """The labels, the number of classes, and their names."""
    if name is None:
        return None, None, ()
    values, known = files.read(name), None
    if training is not None and training != name and name not in files.mapped:
        known = files.read(training)
    if values.dtype.kind in "US" and values.ndim == 1:
        text = files.described(name)
        column = LabelColumn(
            name,
            _texts(values),
            () if known is None else _texts(known),
            lambda row: f"row {row} (counted from 0) of the {text.removeprefix('The ')}",
        )
        found = one_column(column, request)
        return Array(found.values, text), found.classes, found.names
    # One of several numbers of a row may be missing, which tasks leave out.
    several = values.ndim > 1 and values.shape[1:] != (1,)
    array = Array(as_tensor(values, files.described(name)), files.described(name), gaps=several)
    if name in files.mapped or not array.values.numel():
        return replace(array, mapped=True), None, ()
    numbers = _flat(array.values)
    others = None if known is None or not known.size else _flat(as_tensor(known, array.name))
    labels, classes, names = numbered_classes(numbers, others, request)
    return replace(array, values=labels), classes, names


def _texts(values: NDArray[Any]) -> list[str]:
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    return [str(value) for value in values.tolist()]


def _flat(labels: Tensor) -> Tensor:
    """Whole numbers (n, 1) as (n,)."""
    column = labels.dim() == 2 and labels.shape[1] == 1 and not labels.is_floating_point()
    return labels[:, 0] if column else labels


checks["numpy:"] = checked_files
