"""The packages of training loops, which onefold itself does not need."""

from __future__ import annotations

import importlib
from typing import Any

from onefold.errors import SettingError


def loop_package(names: tuple[str, ...], extra: str, what: str) -> list[Any]:
    """Import those of the packages that are installed.

    Args:
        names: packages that hold the same classes under two names, or one package.
        extra: the extra of onefold that installs one of them.
        what: begins the message, such as "The callbacks of Lightning".

    Raises:
        SettingError: none is installed, and how to install one, or none can be imported.
    """
    found, reasons = [], []
    for name in names:
        try:
            found.append(importlib.import_module(name))
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != name.split(".")[0]:
                reasons.append(f"{name}: {error}")
        except Exception as error:  # as torchvision fails beside a torch that it was not built for
            reasons.append(f"{name}: " + str(error).split("\n")[0][:150])
    if found:
        return found
    if reasons:
        raise SettingError(
            f"{what} cannot be imported here ({'; '.join(reasons)}); install versions that fit this"
            " torch."
        )
    raise SettingError(
        f"{what} need the package {' or '.join(names)}; install it with: pip install"
        f' "onefold[{extra}]".'
    )


def class_of_loops(name: str, packages: tuple[str, ...], extra: str, what: str) -> type:
    """A class that is of every installed package's class of that name.

    Args:
        name: of the class.
        packages: as in `loop_package`.
        extra: as in `loop_package`.
        what: as in `loop_package`.

    Returns:
        The class. If no package can be imported, its objects cannot be made: that raises the
            SettingError of `loop_package`. The documentation is so built without the packages.
    """
    try:
        found = loop_package(packages, extra, what)
    except SettingError as error:
        sentence = str(error)

        def refuse(self: object) -> None:
            raise SettingError(sentence)

        return type(name, (), {"__init__": refuse})
    return type(name, tuple(getattr(package, name) for package in found), {})
