"""What the commands share of reading their flags."""

from __future__ import annotations

from typing import Any


def given(**values: Any) -> dict[str, Any]:
    """The flags that the user gave: those that are not None."""
    return {key: value for key, value in values.items() if value is not None}


def selected(text: str | None) -> str | int | None:
    """An output of a network as a flag names it: an index where it is a whole number, else a name."""
    return int(text) if text is not None and text.removeprefix("-").isdecimal() else text
