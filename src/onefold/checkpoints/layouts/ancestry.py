"""What a checkpoint says of the models that it was merged from, in the texts of its header.

`sd_merge_models` is a table of AUTOMATIC1111's web UI, by the SHA-256 of files:
{hash: {"name": ..., "legacy_hash": ..., "sd_merge_recipe": ...}}. `modelspec.merged_from` is a list
with commas (https://github.com/Stability-AI/ModelSpec). `merged_from` is that of onefold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MODELS, RECIPE = "sd_merge_models", "sd_merge_recipe"
LISTS = ("modelspec.merged_from", "merged_from")
SHOWN = 6  # names in a sentence
LONGEST = 100  # characters of a name in a sentence


def ancestors_of(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the models that metadata name as ancestors, once each.

    Args:
        metadata: the texts of a safetensors header.
    """
    names: list[str] = []
    for one in table(metadata, MODELS).values():
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            names.append(one["name"])
    if not names:
        for key in LISTS:
            names += [name.strip() for name in metadata.get(key, "").split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def table(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """The table of JSON that a text holds; {} if it holds none."""
    try:
        content = json.loads(metadata.get(key, ""))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def told_of(name: object, ancestors: tuple[str, ...]) -> str:
    """The sentence on the ancestors of a checkpoint.

    Args:
        name: of the checkpoint.
        ancestors: their names, one or more.
    """
    shown = ", ".join(one[:LONGEST] for one in ancestors[:SHOWN])
    more = f" and {len(ancestors) - SHOWN} more" if len(ancestors) > SHOWN else ""
    return f"{name} says that it was merged from {shown}{more}."
