"""The weight of the only model that is merged, where the method divides it by itself.

With w the weight, and normalize set as it is by default, w x / w is x: the result is the model,
whatever its weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onefold.checkpoints.methods.base import Method
from onefold.checkpoints.methods.parameters import Value

DIVIDES = ("normalize", "normalize_weights")  # settings that divide by the sum of the weights


def sole_weight(method: Method, merged: Sequence[Mapping[str, Value]]) -> str | None:
    """A sentence on a weight that has no effect, as it is the only one; else None.

    Args:
        method: the method with its settings.
        merged: the parameters of the models that are merged.
    """
    name = next((one for one in DIVIDES if getattr(method, one, False)), None)
    if name is None or len(merged) != 1 or merged[0].get("weight") in (None, 0.0, 1.0):
        return None
    return (
        f"the weight of the only model has no effect, as {method.label} divides by it; set {name}:"
        " false to scale by it"
    )
