"""Operators that create tensors from no other tensor."""

from __future__ import annotations

from onefold.symmetry.rules.call import Axes, Call
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import ALL, MEAN_FIXING, fresh


@rule("zeros", "zeros_like", "new_zeros", "zero", "empty", "empty_like", "new_empty")
def zeros(call: Call) -> Axes:
    """Zeros look the same under every map."""
    return [fresh(n, maps=ALL) for n in call.shape()]


@rule("ones", "ones_like", "new_ones", "full", "full_like", "new_full", "scalar_tensor")
def constant(call: Call) -> Axes:
    """One number everywhere: looks the same under every map that fixes the mean."""
    return [fresh(n, maps=MEAN_FIXING) for n in call.shape()]


@rule("arange", "linspace", "eye", "_tensor_constant", "rand", "randn", "rand_like", "randn_like")
def numbered(call: Call) -> Axes:
    """Coordinates that differ: nothing may move."""
    return [fresh(n, True, f"created by {call.name}") for n in call.shape()]
