"""Advice on keys that stand where nothing reads them."""

from __future__ import annotations

from collections.abc import Iterable

from onefold.checkpoints.methods.base import methods
from onefold.checkpoints.methods.parameters import settings_of
from onefold.documents.problems import Keys

TOP = "write it at the top of the document"
BELOW = "write it under 'parameters'"


def all_parameters() -> set[str]:
    """The names of the parameters of all methods."""
    found: set[str] = set()
    for entry in methods:
        kinds = (*settings_of(entry.value), *entry.value.per_model)
        found.update(kind.name for kind in kinds)
    return found


def hint_for(key: str, at: Keys, top: Iterable[str]) -> str:
    """What to do with an unknown key; empty if only its spelling can be wrong.

    Args:
        key: the key.
        at: the part that holds it.
        top: the keys at the top of a document.
    """
    special = {
        "revision": "write it behind the model, as 'model: path@revision'",
        "lora": "write it behind the model, as 'model: path+lora'",
        "layer_range": "layers are given for the 'sources' of 'slices'",
        "pad_to_multiple_of": "write it under 'tokenizer'",
        "tokens": "write it under 'tokenizer'",
        "filter": "filters belong to values, as 'weight: [{filter: mlp, value: 0.5}]'",
        "experts": "mixtures of experts are made by mergekit-moe, not here",
        "gate_mode": "mixtures of experts are made by mergekit-moe, not here",
        "adapter": "write it behind the model, as 'model: path+adapter'",
    }
    if key in special:
        return special[key]
    if at and key in top and key not in ("models", "slices", "parameters", "name"):
        return TOP
    return BELOW if key in all_parameters() else ""
