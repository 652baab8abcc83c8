"""Weighted average of aligned members:  W = sum_k a_k W_k  with  sum_k a_k = 1.

McMahan et al. 2017 (arXiv 1602.05629); after alignment, Singh & Jaggi 2020 (arXiv 1910.05653).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from onefold.errors import MembersError, SettingError
from onefold.registry import Registry


class Fold(Protocol):
    """A function from aligned state dicts and the members' weights to one state dict.

    The weights sum to 1.
    """

    def __call__(
        self, states: Sequence[Mapping[str, Tensor]], weights: Sequence[float], *, reference: int
    ) -> dict[str, Tensor]:
        """The folded state dict."""
        ...


# Values are a Fold, or a class of NetworkFolds (see `network_fold.py`).
folds: Registry[Any] = Registry("fold")


def normalized(weights: Sequence[float] | None, members: int) -> tuple[float, ...]:
    """The members' weights divided by their sum; equal ones for None.

    Raises:
        MembersError: the number of weights is not that of the members.
        SettingError: a weight is negative or not finite, or all are 0.
    """
    if weights is None:
        return (1.0 / members,) * members
    if len(weights) != members:
        raise MembersError(
            f"{len(weights)} weights were given for {members} members; give one weight for each."
        )
    if any(not math.isfinite(w) or w < 0 for w in weights) or sum(weights) <= 0:
        raise SettingError(
            f"The members' weights are {list(weights)}; they must be finite, 0 or greater, and not"
            " all 0."
        )
    largest = max(weights)  # the sum of the largest floats would be no float
    scaled = [w / largest for w in weights] if largest > 1e300 else list(weights)
    total = math.fsum(scaled)
    return tuple(w / total for w in scaled)


@folds.register("average")
def average(
    states: Sequence[Mapping[str, Tensor]], weights: Sequence[float], *, reference: int
) -> dict[str, Tensor]:
    """Weighted mean of the aligned members' weights, in the reference's dtypes.

    Floating-point and complex tensors are averaged. A tensor without a mean comes from the
    reference, or from the member of most weight if the reference has none. `merge` treats more
    tensors like this, as masks (see `unaveraged.py`).

    The sum is in float64, the reference first and then the other members in an order that depends
    on their values alone. So the result has the same bits whatever the order in which the others
    were given. Beside the running sum one state is read at a time.
    """
    others = [k for k in range(len(states)) if k != reference]
    if len(others) > 1:  # states on disk are read for their rank, and read again for their values
        others.sort(key=lambda k: (weights[k], _rank(states[k])))
    first, owner = states[reference], owner_of(weights, reference)
    dtypes = {name: tensor.dtype for name, tensor in first.items()}
    averaged = {name for name, tensor in first.items() if wide(tensor) is not None}
    folded = {
        name: _share(tensor, weights[reference]) if name in averaged else tensor.clone()
        for name, tensor in first.items()
    }
    del first
    for k in others:
        for name, tensor in states[k].items():
            if name in averaged:
                folded[name].add_(tensor.to(folded[name].dtype), alpha=weights[k])
            elif k == owner:
                folded[name] = tensor.clone()
    return {name: folded.pop(name).to(dtype) for name, dtype in dtypes.items()}


def owner_of(weights: Sequence[float], reference: int) -> int:
    """The member whose values are taken for tensors without a mean.

    That is the reference, or the member of most weight if the reference has none.
    """
    if weights[reference] > 0:
        return reference
    return max(range(len(weights)), key=lambda k: weights[k])


def wide(tensor: Tensor) -> torch.dtype | None:
    """The dtype to sum such a tensor in, float64 or complex128; None if it has no mean."""
    if tensor.is_floating_point():
        return torch.float64
    return torch.complex128 if tensor.is_complex() else None


def _share(tensor: Tensor, weight: float) -> Tensor:
    dtype = wide(tensor)
    return torch.zeros_like(tensor, dtype=dtype).add_(tensor.to(dtype), alpha=weight)


def _rank(state: Mapping[str, Tensor]) -> tuple[float, ...]:
    """A key that orders members by their values and not by their position."""
    floating = [float(t.double().sum()) for t in state.values() if t.is_floating_point()]
    parts = [
        torch.view_as_real(t.resolve_conj()).double().sum((*range(t.dim()),))
        for t in state.values()
        if t.is_complex()
    ]
    return (*floating, *(float(x) for part in parts for x in part.reshape(-1)))
