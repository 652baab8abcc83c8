"""A data set of the library `datasets` in a folder, as a table of columns.

Data sets are read as `save_to_disk` wrote them. Nothing is downloaded and no code is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onefold.errors import DataError, SettingError, nearest
from onefold.sources.data import Request
from onefold.sources.delimited import Columns
from onefold.sources.split_files import SPLITS


@dataclass(frozen=True)
class DatasetTable:
    """The rows of one data set.

    Attributes:
        folder: where it lies, for errors.
        data: the data set of the library, which gives plain Python values.
    """

    folder: Path
    data: Any

    def __len__(self) -> int:
        return len(self.data)

    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return tuple(self.data.column_names)

    def column(self, wanted: str | int) -> str:
        """The name of a column that is given by name or by number.

        Raises:
            DataError: there is none.
        """
        names = self.names()
        if str(wanted) in names:
            return str(wanted)
        if isinstance(wanted, int) and wanted < len(names):
            return names[wanted]
        near = nearest(str(wanted), names)
        raise DataError(f"The data set {self.folder} has no column '{wanted}'; {near}")

    def read(self, wanted: Sequence[str | int], start: int, stop: int | None) -> Columns:
        """Columns of the rows from `start` to `stop`.

        Raises:
            DataError: there is no such column, or the files are damaged.
        """
        chosen = [self.column(one) for one in wanted]
        end = len(self) if stop is None else min(stop, len(self))
        rows: dict[str, Any] = {name: [] for name in chosen}
        if start < end:
            try:
                rows = self.data.select_columns(list(dict.fromkeys(chosen)))[start:end]
            except (OSError, ValueError) as error:
                raise _damaged(self.folder, error) from error
        places = [(0, row + 1) for row in range(start, max(start, end))]
        values = tuple(list(rows[name]) for name in chosen)
        return Columns(self.names(), values, (self.folder,), places, end, True)

    def class_names(self, column: str | int) -> tuple[str, ...]:
        """The names of a column's classes, if its feature tells them; else ()."""
        feature = self.data.features[self.column(column)]
        while not hasattr(feature, "names") and hasattr(feature, "feature"):
            feature = feature.feature
        return tuple(getattr(feature, "names", None) or ())

    def is_image(self, column: str) -> bool:
        """Whether a column holds images."""
        return type(self.data.features[column]).__name__ == "Image"

    def encoded(self) -> DatasetTable:
        """The same table with images as their files' bytes or paths."""
        import datasets

        data = self.data
        for name in self.names():
            if self.is_image(name):
                data = data.cast_column(name, datasets.Image(decode=False))
        return DatasetTable(self.folder, data)


@dataclass(frozen=True)
class DatasetSplit:
    """The tables of a request.

    Attributes:
        table: of the split, or of the whole.
        training: of the training split, if it is another.
        whole: the rows of `table` are the split.
    """

    table: DatasetTable
    training: DatasetTable | None
    whole: bool


def dataset_split(request: Request) -> DatasetSplit:
    """The data set in the folder of a request, and its split.

    Raises:
        SettingError: the package datasets is missing.
        DataError: the folder holds no data set, or has no such split.
    """
    folder = request.folder()
    try:
        import datasets
    except ImportError:
        raise SettingError(
            f"The data source '{request.name.text}' needs the package datasets; install it with:"
            ' pip install "onefold[hf]".'
        ) from None
    try:
        loaded = datasets.load_from_disk(str(folder))
    except FileNotFoundError:
        raise DataError(
            f"The folder {folder} of '{request.name.text}' holds no data set of the library"
            " datasets; write it there with save_to_disk."
        ) from None
    except Exception as error:  # it fails in any way on files that are damaged
        raise _damaged(folder, error) from error
    if not isinstance(loaded, dict):
        return DatasetSplit(DatasetTable(folder, loaded.with_format(None)), None, False)
    tables = {name: DatasetTable(folder / name, loaded[name].with_format(None)) for name in loaded}
    found = {
        split: next((tables[name] for name in names if name in tables), None)
        for split, names in SPLITS.items()
    }
    table, training = found[request.split], found["train"]
    if found["test"] is None and training is not None and "test_share" in request.name.options:
        return DatasetSplit(training, None, False)
    if table is None:
        raise DataError(
            f"The data set {folder} has no {request.split} split; it has {', '.join(tables)}."
        )
    return DatasetSplit(table, training if table is not training else None, True)


def _damaged(folder: Path, error: Exception) -> DataError:
    reason = str(error).strip().split("\n")[0][:150].rstrip(".") or type(error).__name__
    return DataError(
        f"The data set {folder} cannot be read ({reason}); write it again with save_to_disk."
    )
