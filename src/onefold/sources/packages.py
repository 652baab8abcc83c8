"""Optional packages that model sources stand on, and suggestions among their many names."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from onefold.errors import SettingError, nearest
from onefold.sources.names import Name


def optional_package(package: str, extra: str, name: Name) -> Any:
    """Import the package that the source `name` needs.

    Raises SettingError, which says how to install it, where that fails.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise SettingError(
            f"The model source '{name.text}' needs the package {package}; install it with: pip"
            f' install "onefold[{extra}]".'
        ) from None
    except (
        Exception
    ) as error:  # torchvision fails like this beside a torch that it was not built for
        reason = str(error).split("\n")[0][:150]
        raise SettingError(
            f"The package {package} cannot be imported here ({reason}); install a version that fits"
            " this torch."
        ) from error


def near(given: str, known: Iterable[str], otherwise: str) -> str:
    """The nearest known name as a suggestion, or else the advice `otherwise`, but never the list of
    a thousand names.
    """
    suggestion = nearest(given, known)
    return suggestion if suggestion.startswith("did") else otherwise
