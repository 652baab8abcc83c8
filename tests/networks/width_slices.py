"""A network's tensors in other widths, cut by NumPy: written anew, to judge `onefold.widths`."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from onefold.symmetry import SymmetrySpec
from onefold.symmetry.axes import Case, Fixed, Live, Prod, Sum, Term
from onefold.widths import tied_groups

Kept = Mapping[str, list[int]]


def kept_places(term: Term, kept: Kept, at: Mapping[str, int]) -> np.ndarray:
    """The old places of an axis that stay, in their new order, where indices are `at`."""
    if isinstance(term, Live):
        return np.asarray(kept.get(term.group, range(term.size)))
    if isinstance(term, Fixed):
        return np.arange(term.size)
    if isinstance(term, Case):
        return kept_places(term.parts[at[term.index]], kept, at)
    parts = [kept_places(part, kept, at) for part in term.parts]
    sizes = [part.size for part in term.parts]
    if isinstance(term, Sum):
        starts = np.cumsum([0, *sizes[:-1]])
        return np.concatenate([start + part for start, part in zip(starts, parts, strict=True)])
    assert isinstance(term, Prod)
    return np.asarray([np.ravel_multi_index(one, sizes) for one in itertools.product(*parts)])


def sliced(model: nn.Module, spec: SymmetrySpec, kept: Kept) -> dict[str, np.ndarray]:
    """Every entry of the state dict with only the units that stay."""
    found = {}
    for name, tensor in model.state_dict().items():
        array = tensor.detach().numpy()
        axes = spec.axes.get(name)
        found[name] = array if axes is None else _cut(array, axes, kept, {})
    return found


def _cut(array: np.ndarray, axes: tuple[Term, ...], kept: Kept, at: dict[str, int]) -> np.ndarray:
    for k, term in enumerate(axes):
        if isinstance(term, Fixed) and term.name not in at and _names(axes, term.name):
            rows = [
                _cut(np.take(array, [i], k), axes, kept, {**at, term.name: i})
                for i in range(term.size)
            ]
            return np.concatenate(rows, k)
    for k, term in enumerate(axes):
        if isinstance(term, Fixed) and term.name in at:
            continue
        array = np.take(array, kept_places(term, kept, at), k)
    return array


def _names(axes: tuple[Term, ...], index: str) -> bool:
    """Whether a case depends on that index."""

    def inside(term: Term) -> bool:
        if isinstance(term, Case) and term.index == index:
            return True
        return not isinstance(term, Live | Fixed) and any(map(inside, term.parts))

    return any(map(inside, axes))


def heads_and_features(spec: SymmetrySpec) -> tuple[set[str], set[str]]:
    """The groups that count heads or other fibres, and those that are within one."""
    features = {group.name for group in spec.groups if group.over}
    return {name for group in spec.groups for name in group.over if name in spec}, features


def random_units(
    model: nn.Module, spec: SymmetrySpec, seed: int, groups: Sequence[str] | None = None
) -> dict[str, list[int]]:
    """Some units of every group (or of those named), in a random order.

    Groups that one number of a module counts together get one random width.
    """
    generator = torch.Generator().manual_seed(seed)
    together = {name: min(names) for names in tied_groups(model, spec) for name in names}
    counts: dict[str, int] = {}
    found = {}
    for group in spec.groups:
        if groups is None or group.name in groups:
            least = min(2, group.size)
            most = max(least + 1, group.size)  # exclusive, so that a group becomes narrower
            count = int(torch.randint(least, most, (), generator=generator))
            count = counts.setdefault(together.get(group.name, group.name), count)
            found[group.name] = _drawn(group.size, count, generator)
    return found


def half_the_units(
    spec: SymmetrySpec, seed: int, whole: Collection[str] = ()
) -> dict[str, list[int]]:
    """Half of the units of every group but `whole`, in a random order."""
    generator = torch.Generator().manual_seed(seed)
    return {
        group.name: _drawn(group.size, max(2, -(-group.size // 2)), generator)
        for group in spec.groups
        if group.name not in whole
    }


def _drawn(size: int, count: int, generator: torch.Generator) -> list[int]:
    return torch.randperm(size, generator=generator)[:count].tolist()
