"""Which class has which number: the names of a data set's classes, and labels put into another
order of them (`?classes=`).
"""

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
    """The names of the classes in the order of their numbers, where the data know them:
    `class_names`, or `classes` of a loader's data set.
    """
    places = (
        getattr(data, "class_names", None),
        getattr(getattr(data, "dataset", None), "classes", None),
        getattr(data, "classes", None),
    )
    for found in places:
        if (
            isinstance(found, list | tuple)
            and found
            and all(isinstance(name, str) for name in found)
        ):
            return tuple(found)
    return ()


def class_map(names: Sequence[str]) -> str:
    """The map of numbers to classes in one line, cut short where it is long; "" where no names are
    known.
    """
    shown = ", ".join(f"{index} = {name}" for index, name in enumerate(names[:SHOWN]))
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def wanted_classes(name: Name, folder: Path | None = None) -> tuple[str, ...] | None:
    """The order of classes that a source was asked for by `classes`: names with commas between
    them, or a file of one name a line.

    A file is looked for in `folder`, the data's own, and then by its path.

    Raises:
        SettingError: a name stands there twice, or there is one name only and no such file.
            DataError: the file cannot be read.
    """
    given = name.options.get(OPTION)
    if given is None:
        return None
    written = dict(parse_qsl(name.text.partition("?")[2], keep_blank_values=True)).get(OPTION)
    if (
        written is not None and _value(written) == given
    ):  # as it was written: 007 and none are names here
        given = tuple(written.split(",")) if "," in written else written
    if isinstance(given, list | tuple):
        found = tuple(str(one).strip() for one in given)
    else:
        found = _read(Path(str(given)).expanduser(), folder, name)
    found = tuple(one for one in found if one)
    twice = next((one for one in found if found.count(one) > 1), None)
    if twice is not None:
        raise SettingError(
            f"The option 'classes' of '{name.text}' names '{twice}' twice; name each class once."
        )
    if not found:
        raise SettingError(
            f"The option 'classes' of '{name.text}' names no class; write them with commas between"
            " them, or name a file."
        )
    return found


def renumbered(
    labels: Tensor, own: Sequence[str], wanted: Sequence[str] | None, name: Name
) -> tuple[Tensor, tuple[str, ...]]:
    """Labels (n,) that count through `own` names as labels that count through the `wanted` ones,
    and the names; `wanted` may hold more.

    Raises:
        SettingError: a class of the data is not among the wanted ones.
    """
    if wanted is None:
        return labels, tuple(own)
    place = {one: index for index, one in enumerate(wanted)}
    lacking = [one for one in own if one not in place]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise SettingError(
            f"The option 'classes' of '{name.text}' lacks the class '{lacking[0]}'{more}, which the"
            f" data have; {nearest(lacking[0], wanted)}"
        )
    return torch.tensor([place[one] for one in own], dtype=torch.int64)[labels], tuple(wanted)


def _read(file: Path, folder: Path | None, name: Name) -> tuple[str, ...]:
    for path in ([folder / file] if folder is not None else []) + [file]:
        if path.is_file():
            try:
                return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(
                    f"The file {path} of class names cannot be read ({error}); give one name a"
                    " line, in UTF-8."
                ) from error
    raise SettingError(
        f"The option 'classes' of '{name.text}' is '{file}', which is no file; name all classes"
        " with commas between them, or a file of one name a line."
    )
