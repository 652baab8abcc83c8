"""What the commands share of reading their flags."""

from __future__ import annotations

from typing import Any


def given(**values: Any) -> dict[str, Any]:
    """The flags that the user gave: those that are not None."""
    return {key: value for key, value in values.items() if value is not None}
