"""Values of parameters as a document gives them: scalars, gradients, and filters by tensor name.

density: 0.5                                  one value for all tensors
density: [0.2, 0.8, 0.5]                      a gradient over the layers
density: {filter: mlp, value: 0.5}            for tensors whose names hold "mlp"
density: [{filter: mlp, value: [0, 1]}, {value: 0.5}]     the first that fits counts
"""

from __future__ import annotations

import math

from onefold.checkpoints.document.content import Entry, Parameters, Scalar, Setting, Value
from onefold.checkpoints.document.findings import Findings
from onefold.documents.problems import WIDEST, Keys

EVERYTHING = "*"  # the filter of all tensors
FORMS = "it must be a number, true, false, a list of numbers, or values with filters"


def parameters_from(content: object, at: Keys, findings: Findings) -> Parameters:
    """The values below one key `parameters`; nothing if that is empty.

    Raises:
        RecipeError: one of them is no value.
    """
    if content is None:
        return {}
    found = {}
    for name, value in findings.mapping(content, at).items():
        if setting := setting_from(value, (*at, name), findings):
            found[name] = setting
    return found


def setting_from(content: object, at: Keys, findings: Findings) -> Setting:
    """The value of one parameter; empty if it sets nothing, as an empty list in mergekit.

    Raises:
        RecipeError: it is no value.
    """
    if isinstance(content, dict):
        return _used([_entry(content, at, findings)], findings)
    if isinstance(content, list) and any(isinstance(one, dict) for one in content):
        entries = []
        for i, one in enumerate(content):
            if not isinstance(one, dict):
                findings.refuse((*at, i), "a list holds either numbers or values with filters", one)
            entries.append(_entry(one, (*at, i), findings))
        return _used(entries, findings)
    value = _value(content, at, findings)
    return () if value == () else (Entry(value, None, at),)


def _entry(content: dict[str, object], at: Keys, findings: Findings) -> Entry:
    for key in content:
        if key not in ("filter", "value"):
            findings.unknown((*at, key), ("filter", "value"))
    if "value" not in content:
        findings.missing((*at, "value"))
    pattern = content.get("filter")
    if pattern is not None and not isinstance(pattern, str):
        findings.refuse((*at, "filter"), "it must be a text that names of tensors hold", pattern)
    value = _value(content["value"], (*at, "value"), findings)
    return Entry(value, None if pattern in (EVERYTHING, "") else pattern, (*at, "value"))


def _used(entries: list[Entry], findings: Findings) -> Setting:
    """The entries that can be reached, without those that set nothing."""
    found: list[Entry] = []
    for entry in entries:
        ahead = next((e for e in found if _covers(e.filter, entry.filter)), None)
        if ahead is not None:
            fits = "every tensor" if ahead.filter is None else "every such tensor"
            findings.ignore(
                entry.at[:-1],
                f"it is never reached, as an entry before it fits {fits}; move it up, or leave it"
                " out",
            )
            continue
        found.append(entry)
    return tuple(found)


def _covers(first: str | None, second: str | None) -> bool:
    """Whether every tensor that the second filter fits is one that the first fits."""
    return first is None or (second is not None and first in second)


def _value(content: object, at: Keys, findings: Findings) -> Value:
    if isinstance(content, list):
        if not content:
            findings.ignore(at, "an empty list sets nothing; give a value, or leave the key out")
        return tuple(_scalar(one, (*at, i), findings) for i, one in enumerate(content))
    return _scalar(content, at, findings)


def _scalar(content: object, at: Keys, findings: Findings) -> Scalar:
    if not isinstance(content, bool | int | float | str):
        findings.refuse(at, FORMS, content)
    if isinstance(content, int) and abs(content) >= WIDEST:
        findings.refuse(at, "the number is too large")
    if isinstance(content, float) and not math.isfinite(content):
        findings.refuse(at, "it must be finite", content)
    return content
