"""Networks that are given twice: one object, one file under two names, or equal weights.

Every function that takes several networks asks here, so that all say the same. Networks of one
class and equal tensors count as one. A network without tensors is only itself. Tensors are compared
one after the other, and only among networks that were equal so far, so that different networks cost
the reading of one tensor of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onefold.errors import RepeatedMembers, warn


def repeated(models: Sequence[nn.Module]) -> list[str]:
    """One sentence for each network that is another one again.

    Members on disk, which have an attribute `repeated`, were compared as their files were read.
    """
    known = getattr(models, "repeated", None)
    if known is not None:
        return list(known)
    owners = list(models)
    first = {id(model): k for k, model in reversed(list(enumerate(owners)))}
    repeats = {
        k: (first[id(model)], "are one and the same object")
        for k, model in enumerate(owners)
        if first[id(model)] != k
    }
    single = [k for k in range(len(owners)) if k not in repeats]
    states = [owners[k].state_dict() for k in single]
    for i, k in twins(states, [type(owners[k]) for k in single]):
        repeats[single[k]] = (single[i], "hold the same weights")
    return told(repeats)


def warn_of_repeated(models: Sequence[nn.Module]) -> None:
    """Warn (`RepeatedMembers`) of each network that is another one again."""
    for text in repeated(models):
        warn(RepeatedMembers(f"{text[:1].upper()}{text[1:]}."))


def told(repeats: Mapping[int, tuple[int, str]]) -> list[str]:
    """The sentences on repeated members, by number.

    Args:
        repeats: number of a member -> the number of the earlier one that it is, and how.
    """
    return [
        f"members {i} and {k} {how}, which counts it twice and gains nothing"
        for k, (i, how) in sorted(repeats.items())
    ]


def twins(
    states: Sequence[Mapping[str, Any]], kinds: Sequence[object] | None = None
) -> list[tuple[int, int]]:
    """Pairs (first of equals, a later one) of state dicts with equal tensors.

    Args:
        states: the state dicts.
        kinds: one for each state dict; only those of one kind can be equal.
    """
    groups: dict[Any, list[int]] = {}
    for k, state in enumerate(states):
        groups.setdefault((kinds[k] if kinds else None, tuple(sorted(state))), []).append(k)
    pairs: list[tuple[int, int]] = []
    for (_, names), members in groups.items():
        left = [members] if names else []
        for name in names:
            left = [
                part
                for group in left
                for part in _parted([(k, states[k][name]) for k in group])
                if len(part) > 1
            ]
            if not left:
                break
        pairs += [(group[0], k) for group in left for k in group[1:]]
    return sorted(pairs)


def _parted(values: Sequence[tuple[int, Any]]) -> list[list[int]]:
    """The numbers of equal values together, in their order.

    Only the first value of each part is held.
    """
    parts: list[tuple[Any, list[int]]] = []
    for k, value in values:
        for own, numbers in parts:
            if _equal(own, value):
                numbers.append(k)
                break
        else:
            parts.append((value, [k]))
    return [numbers for _, numbers in parts]


def _equal(first: Any, second: Any) -> bool:
    """Whether two entries are equal. Two of extra state always are, since that is no weight."""
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return not isinstance(first, Tensor) and not isinstance(second, Tensor)
    try:
        alike = first.dtype == second.dtype and first.shape == second.shape
        if not alike or first.is_meta or second.is_meta:
            return False
        return torch.equal(first, second.to(first.device))
    except (RuntimeError, NotImplementedError):  # lazy, or of a layout that cannot be compared
        return False


__all__ = ["repeated", "told", "twins", "warn_of_repeated"]
