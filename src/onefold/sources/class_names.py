"""The names of a data set's classes, and their numbers in another order (`?classes=`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import Tensor

from onefold.errors import DataError, SettingError, nearest
from onefold.sources.names import Name, _value

OPTION = "classes"
SHOWN = 20  # classes of a map that is printed


def class_names_of(data: Any) -> tuple[str, ...]:
    """The names of the classes in the order of their numbers; () if the data do not know them.

    They are read from `class_names` of the data, from `classes` of a loader's data set, or from
    `classes` of the data.
    """
    candidates = (
        getattr(data, "class_names", None),
        getattr(getattr(data, "dataset", None), "classes", None),
        getattr(data, "classes", None),
    )
    for names in candidates:
        if not isinstance(names, list | tuple) or not names:
            continue
        if all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()


def class_map(names: Sequence[str]) -> str:
    """The map of numbers to classes in one line, at most SHOWN of them.

    It is "" without names, and where the names are the numbers.
    """
    if all(name == str(index) for index, name in enumerate(names)):
        return ""
    shown = ", ".join(f"{index} = {name}" for index, name in enumerate(names[:SHOWN]))
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def wanted_classes(name: Name, folder: Path | None = None) -> tuple[str, ...] | None:
    """The order of classes that the option `classes` of a source asks for; None without it.

    The option is names with commas between them, or a file of one name a line.

    Args:
        name: the name of the source with its options.
        folder: the folder of the data, in which a file is looked for first, then by its path.

    Raises:
        SettingError: a name is given twice, or there is one name only and no such file.
        DataError: the file cannot be read.
    """
    given = name.options.get(OPTION)
    if given is None:
        return None
    written = _written(name.text)
    if written is not None and _value(written) == given:
        # The text as it was written: 007 and none are names here.
        given = tuple(written.split(",")) if "," in written else written
    if isinstance(given, list | tuple):
        names = tuple(str(one).strip() for one in given)
    else:
        names = _read(Path(str(given)).expanduser(), folder, name)
    names = tuple(one for one in names if one)
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise SettingError(
            f"The option 'classes' of '{name.text}' names '{twice}' twice; name each class once."
        )
    if not names:
        raise SettingError(
            f"The option 'classes' of '{name.text}' names no class; write them with commas between"
            " them, or name a file."
        )
    return names


def class_file(text: str, folder: Path | None = None) -> Path | None:
    """The file of class names that the name of a source gives, if it is there.

    Args:
        text: the name of the source with its options.
        folder: the folder of the data.
    """
    written = _written(text)
    if written is None or "," in written:
        return None
    return _found(Path(written).expanduser(), folder)


def _written(text: str) -> str | None:
    """The option `classes` as it is written in the name of a source."""
    return dict(parse_qsl(text.partition("?")[2], keep_blank_values=True)).get(OPTION)


def _found(file: Path, folder: Path | None) -> Path | None:
    """A file of class names: in the folder of the data, or at its own path."""
    places = ([folder / file] if folder is not None else []) + [file]
    return next((path for path in places if path.is_file()), None)


def renumbered(
    labels: Tensor, own: Sequence[str], wanted: Sequence[str] | None, name: Name
) -> tuple[Tensor, tuple[str, ...]]:
    """Labels in the wanted order of the classes, and the names in that order.

    Args:
        labels: (n,), int64, numbers into `own`.
        own: the names of the data's classes.
        wanted: the names in the wanted order, which may hold more classes; None changes nothing.
        name: the name of the source, for the messages.

    Raises:
        SettingError: a class of the data is not among the wanted ones.
    """
    if wanted is None:
        return labels, tuple(own)
    numbers = {one: index for index, one in enumerate(wanted)}
    lacking = [one for one in own if one not in numbers]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise SettingError(
            f"The option 'classes' of '{name.text}' lacks the class '{lacking[0]}'{more}, which the"
            f" data have; {nearest(lacking[0], wanted)}"
        )
    return torch.tensor([numbers[one] for one in own], dtype=torch.int64)[labels], tuple(wanted)


def _read(file: Path, folder: Path | None, name: Name) -> tuple[str, ...]:
    """The lines of a file of class names."""
    path = _found(file, folder)
    if path is None:
        raise SettingError(
            f"The option 'classes' of '{name.text}' is '{file}', which is no file; name all classes"
            " with commas between them, or a file of one name a line."
        )
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The file {path} of class names cannot be read ({error}); give one name a line, in"
            " UTF-8."
        ) from error
