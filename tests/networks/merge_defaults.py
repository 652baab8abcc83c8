"""The keyword arguments of `plan_merge` with the defaults of `onefold.merge`."""

from __future__ import annotations

import inspect
from typing import Any

import onefold
from onefold.tasks import Scoring

MERGE_DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(onefold.merge).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name not in ("task", "metrics", "by")
} | {"scoring": Scoring()}
