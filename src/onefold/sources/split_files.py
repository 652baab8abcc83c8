"""Which files of tables are a split: a folder's by their names, or one file that is named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from onefold.errors import DataError, SettingError
from onefold.sources.data import SPLIT_NAMES, Request
from onefold.sources.table_formats import FORMATS

SPLITS = {"train": SPLIT_NAMES["train"], "test": (*SPLIT_NAMES["test"], "dev")}


@dataclass(frozen=True)
class SplitFiles:
    """The files of a request.

    Attributes:
        files: those of the split, or of which a share is the split.
        training: those of the training split; () if they are `files` or are not known.
        whole: the rows of the files are the split; else all rows there are, of which a test share
            may be held out.
    """

    files: tuple[Path, ...]
    training: tuple[Path, ...]
    whole: bool


def split_files(request: Request) -> SplitFiles:
    """The files that a request means.

    A folder holds train.csv and test.csv, or train-*.csv and so on; "validation", "valid", "val"
    and "dev" are read as test where there is no "test". For a file, the options `test=FILE` or
    `train=FILE` name the other split. Without them a file whose name begins so is that split, and
    any other file is the training split.

    Raises:
        SettingError: the name says no place.
        DataError: there is no such file or folder, none of the split, or more than one kind of
            them.
    """
    path = check_place(request)
    if path.is_dir():
        return _in_folder(path, request)
    if (other := other_file(request)) is not None:
        training, test = (path, other[1]) if other[0] == "test" else (other[1], path)
        if request.split == "train":
            return SplitFiles((training,), (), True)
        return SplitFiles((test,), (training,), True)
    own, text = _split_of(path), request.name.text
    if own is not None and own != request.split:
        raise DataError(
            f"The file {path} of '{text}' is the {own} split by its name, but the {request.split}"
            f" split is asked for; name the folder of both, or ask for the {own} split."
        )
    return SplitFiles((path,), (), own == "test")


def check_place(request: Request) -> Path:
    """The file or folder that a request names, which is there, of whichever split.

    Raises:
        SettingError: the name says no place.
        DataError: there is no such file or folder, or the file is no table.
    """
    path, text = request.name.path, request.name.text
    if not request.name.place:
        raise SettingError(f"The data source '{text}' says no file; write it after the colon.")
    if not path.exists():
        raise DataError(f"The file or folder {path} of '{text}' does not exist; check its path.")
    if not path.is_dir() and path.suffix.lower() not in FORMATS:
        raise DataError(
            f"The file {path} of '{text}' is no table that can be read; give a file that ends with"
            f" {', '.join(FORMATS)}."
        )
    return path


def other_file(request: Request) -> tuple[str, Path] | None:
    """The split and the file of the option `test` or `train`; None without them.

    The file is looked for beside that of the name, then by its own path.

    Raises:
        SettingError: both are given, or one with `test_share`, or for a folder.
        DataError: there is no such file.
    """
    options, text = request.name.options, request.name.text
    both = [one for one in ("train", "test") if one in options]
    if not both:
        return None
    for option in (*both[1:], *(["test_share"] if "test_share" in options else [])):
        raise SettingError(
            f"The options {both[0]} and {option} of '{text}' do not go together, as the file after"
            " the colon is one of the splits; leave one out."
        )
    place, given = check_place(request), Path(str(options[both[0]])).expanduser()
    if place.is_dir():
        raise SettingError(
            f"The option {both[0]} of '{text}' needs a file after the colon, not a folder; name the"
            " file of the other split there."
        )
    found = next((one for one in (place.parent / given, given) if one.is_file()), None)
    if found is None:
        raise DataError(f"The file {given} of '{text}' does not exist; check its path.")
    return both[0], found


def _split_of(file: Path) -> str | None:
    first = re.split(r"[-_.]", file.stem.lower())[0]
    return next((split for split, names in SPLITS.items() if first in names), None)


def _in_folder(folder: Path, request: Request) -> SplitFiles:
    training, test = (_named(folder, split, request) for split in ("train", "test"))
    if training and not test and "test_share" in request.name.options:
        return SplitFiles(training, (), False)
    if request.split == "train" and training:
        return SplitFiles(training, (), True)
    if request.split == "test" and test:
        return SplitFiles(test, training, True)
    name = SPLITS[request.split][0]
    raise DataError(
        f"The folder {folder} of '{request.name.text}' has no file of the {request.split} split;"
        f" name one {name}.csv (.tsv, .jsonl, .parquet), or name a single file."
    )


def _named(folder: Path, split: str, request: Request) -> tuple[Path, ...]:
    """The files of a split, in DIR or DIR/data, sorted; () if there are none."""
    for parent in (folder, folder / "data"):
        for name in SPLITS[split]:
            pattern = re.compile(rf"{name}([-_.].*)?", re.IGNORECASE)
            files = sorted(
                file
                for file in (parent.iterdir() if parent.is_dir() else ())
                if file.suffix.lower() in FORMATS and pattern.fullmatch(file.stem)
            )
            kinds = {file.suffix.lower() for file in files}
            if len(kinds) > 1:
                raise DataError(
                    f"The folder {folder} of '{request.name.text}' holds {files[0].name} and"
                    f" {next(f.name for f in files if f.suffix != files[0].suffix)}; name the one"
                    " that is meant."
                )
            if files:
                return tuple(files)
    return ()
