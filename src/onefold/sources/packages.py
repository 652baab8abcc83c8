"""Optional packages that model sources need."""

from __future__ import annotations

import importlib
from typing import Any

from onefold.errors import SettingError
from onefold.sources.names import Name


def optional_package(package: str, extra: str, name: Name) -> Any:
    """Import the package that a source needs.

    Args:
        package: its name.
        extra: the extra of onefold that installs it.
        name: the name of the source, for the messages.

    Raises:
        SettingError: the package is missing, and how to install it, or it cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise SettingError(
            f"The model source '{name.text}' needs the package {package}; install it with: pip"
            f' install "onefold[{extra}]".'
        ) from None
    except Exception as error:  # as torchvision fails beside a torch that it was not built for
        reason = str(error).split("\n")[0][:150]
        raise SettingError(
            f"The package {package} cannot be imported here ({reason}); install a version that fits"
            " this torch."
        ) from error
