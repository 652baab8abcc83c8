"""Numbers of bytes from texts such as "5GB", and back."""

from __future__ import annotations

import re

from onefold.errors import SettingError

MEMORY, SHARD = "1GB", "5GB"  # of tensors in work, and of a file of weights, by default
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?|)B?\s*", re.IGNORECASE)


def bytes_of(size: int | str, what: str) -> int:
    """A number of bytes.

    Args:
        size: the number, or a text such as "500MB", "5GB" or "1GiB".
        what: the setting, for the message.

    Raises:
        SettingError: it is neither, or not above 0.
    """
    if isinstance(size, str) and (match := TEXT.fullmatch(size)):
        size = int(float(match[1]) * {**UNITS, **BINARY}[match[2].upper()])
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise SettingError(f"{what} is {size!r}; give bytes, such as 500MB or 5GB.")
    return size


def shown_bytes(size: float) -> str:
    """A number of bytes in words, such as "1.2 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
