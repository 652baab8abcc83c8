"""The keyword arguments of `onefold.merge` with their defaults."""

from __future__ import annotations

import inspect
from typing import Any

import onefold

MERGE_DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(onefold.merge).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}
