"""Numbers as JSON can hold them.

JSON has no infinity and no NaN. Python writes them all the same, as text that other readers refuse.
Whatever onefold writes as JSON holds them as the words "inf", "-inf" and "nan".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def finite(value: Any) -> Any:
    """The same plain data, with a word for every number that is not finite.

    Args:
        value: a number, a string, None, or lists, tuples and mappings of such; anything else is
            returned as it is.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {finite(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(finite(one) for one in value) if type(value) in (list, tuple) else value
    return value


__all__ = ["finite"]
