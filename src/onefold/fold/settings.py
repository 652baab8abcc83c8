"""The settings that a merge was carried out with, as plain data for its report: what was asked for
and what defaults became.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from onefold.alignment import Alignment
from onefold.alignment.matchers import Matcher, matchers
from onefold.ensemble.pool import ClassPool
from onefold.fold.network_fold import NetworkFold

CHOSEN = "chosen for each layer"  # a ridge that is not given


def settings_used(
    align: str | Matcher | Alignment,
    fold: object,
    *,
    probe: str,
    regularization: float | None,
    prior: float | None,
    max_positions: int | None,
    seed: int,
) -> dict[str, Any]:
    """Step -> setting -> value: "align" and "fold", and "seed" by itself.

    Settings of a fold's or matcher's own by their names.
    """
    done: dict[str, Any] = {"align": {}, "fold": {}, "seed": seed}
    if isinstance(align, Alignment):
        done["align"] = {"computed before": True}
    elif align != "none":
        matcher = align if isinstance(align, Matcher) else matchers.get(align)()
        asked = {"regularization": regularization, "prior": prior}
        known = (
            {each.name for each in dataclasses.fields(matcher)}
            if dataclasses.is_dataclass(matcher)
            else set()
        )
        given = {
            name: value for name, value in asked.items() if value is not None and name in known
        }  # others are refused where it aligns
        matcher = dataclasses.replace(matcher, **given) if known else matcher
        done["align"] = _fields(matcher) | {
            "features read": matcher.probe if probe == "auto" else probe,
            "positions of an example": "all" if max_positions is None else max_positions,
        }
    if isinstance(fold, NetworkFold):
        done["fold"] = _fields(fold)
        if done["fold"].get("ridge", 0) is None:
            done["fold"]["ridge"] = CHOSEN
    return done


def told(settings: Mapping[str, Any]) -> str:
    """The settings of one step in brackets; "" where there are none."""
    words = ", ".join(f"{name} {_written(value)}" for name, value in settings.items())
    return f" ({words})" if words else ""


def _fields(owner: Any) -> dict[str, Any]:
    found = (
        {each.name: getattr(owner, each.name) for each in dataclasses.fields(owner)}
        if dataclasses.is_dataclass(owner)
        else {}
    )
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, ClassPool):
        return "classes"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


__all__ = ["CHOSEN", "settings_used", "told"]
