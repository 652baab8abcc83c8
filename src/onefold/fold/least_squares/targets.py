"""What the folded layers shall put out: the members' outputs in the reference's basis, made to one
target.

    equal         t = sum_k a_k z_k
    correlation   t = z_0 + sum_k a_k rho_k (z_k - z_0): member k's unit enters with its weight
    times its correlation with the reference's unit selection     the same with rho = 1, but where
    the least correlation is below a threshold the one unit of most importance: its deviation
                  times the norm of its outgoing weights, divided by the sum of these over the
                  member's layer
    pruning       of all members' units those that the next layers can least do without
                  (`units.py`), each as its own member has it. What is no unit that can be picked is
                  weighed as by "correlation"

z_k = T_k (member k's own output): the map acts on what the member computes, not on its weights. For
a permutation both are the same; through a dense map's nonlinearities a mapped member is no more
what it was, and its own outputs, mapped, are the better target. Correlations are taken behind the
activation that reads the target. Outputs that no map can move get the plain weighted mean; where
the ensemble is of probabilities, the network's own output gets log sum_k w_k softmax(z_k + b_k),
less its mean over the classes (`ensemble/pool.py`).

Memory: the sampled rows of all targets, three times (the target, the reference's, one member's),
four times for the selection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onefold.alignment import Alignment
from onefold.ensemble.pool import ClassPool
from onefold.fold.least_squares.layers import Site, activated
from onefold.fold.least_squares.output_layers import PutOut
from onefold.fold.least_squares.outputs import SiteOutputs
from onefold.fold.least_squares.selection import Picks
from onefold.symmetry import SymmetrySpec, features, map_features
from onefold.symmetry.axes import Fixed, Live, Slot, live_groups
from onefold.symmetry.maps import maps_of_output
from onefold.symmetry.probing import spread

TARGETS = ("correlation", "equal", "selection", "pruning")


def aims(
    outputs: SiteOutputs,
    spec: SymmetrySpec,
    aligned: Sequence[Mapping[str, Tensor]],
    alignment: Alignment | None,
    shares: Sequence[float],
    reference: int,
    kind: str,
    threshold: float,
    picks: Mapping[str, Picks],
    pool: ClassPool | None = None,
    put: PutOut | None = None,
) -> list[Tensor]:
    """For each site the target of all its sampled rows, in the order of the batches.

    picks: of "pruning", which the alignment holds as maps. pool: of the network's own output `put`;
    None: the mean of logits.

    Raises:
        DataError: a member puts out something that is not finite.
    """
    sites = outputs.sites
    own = outputs.of(reference)
    own = [
        _mapped(rows, spec, site, alignment, reference)
        for rows, site in zip(own, sites, strict=True)
    ]  # a common basis maps it too
    picked = [_picked(spec, site, picks) for site in sites]
    goals = [
        rows * _places(spec, site, picks, reference, shares).to(rows) if chosen else rows.clone()
        for site, rows, chosen in zip(sites, own, picked, strict=True)
    ]
    mixed = [pool is not None and is_put_out(put, spec, site) for site in sites]
    goals = [
        pool.log_part(rows, reference) if pool is not None and whole else rows
        for rows, whole in zip(goals, mixed, strict=True)
    ]
    kept = [
        _Pick(_importance(spec, aligned[reference], site, rows), rows)
        for site, rows in zip(sites, own, strict=True)
    ]
    for k in range(len(aligned)):
        if k == reference or (shares[k] == 0 and not picks):
            continue
        others = outputs.of(k)
        for number, site in enumerate(sites):
            rows = _mapped(others[number], spec, site, alignment, k)
            others[number] = rows  # the unmapped ones are let go
            if pool is not None and mixed[number]:
                goals[number] = torch.logaddexp(goals[number], pool.log_part(rows, k))
                continue
            if picked[number]:
                goals[number] += rows * _places(spec, site, picks, k, shares).to(rows)
                continue
            rho = torch.ones(rows.shape[1], dtype=rows.dtype, device=rows.device)
            if _is_live(spec, site) and kind != "equal":
                rho = correlations(activated(site, own[number]), activated(site, rows)).to(
                    rows.dtype
                )
            if kind == "selection":
                kept[number].offer(_importance(spec, aligned[k], site, rows), rows, rho)
                rho = torch.ones_like(rho)
            goals[number] += shares[k] * rho.clamp_min(0.0) * (rows - own[number])
    if kind == "selection":
        for number, site in enumerate(sites):
            if _is_live(spec, site) and kept[number].importance is not None:
                goals[number] = torch.where(
                    kept[number].least < threshold, kept[number].rows, goals[number]
                )
    return [
        rows - rows.mean(1, keepdim=True) if whole else rows
        for rows, whole in zip(goals, mixed, strict=True)
    ]


def is_put_out(put: PutOut | None, spec: SymmetrySpec, site: Site) -> bool:
    """Whether the target is the output that is meant, class by class."""
    return (
        put is not None
        and site.target == put.node
        and site.axis == put.axis
        and not _is_live(spec, site)
    )


class _Pick:
    """Of every unit the most important member's rows so far, and the least correlation of the
    others with the reference.
    """

    def __init__(self, importance: Tensor | None, rows: Tensor) -> None:
        self.importance, self.rows, self.least = (
            importance,
            rows,
            torch.ones(rows.shape[1], dtype=rows.dtype, device=rows.device),
        )

    def offer(self, importance: Tensor | None, rows: Tensor, rho: Tensor) -> None:
        self.least = torch.minimum(self.least, rho)
        if importance is None or self.importance is None:
            return
        better = importance > self.importance
        self.rows = torch.where(better, rows, self.rows)
        self.importance = torch.maximum(importance, self.importance)


def correlations(first: Tensor, second: Tensor) -> Tensor:
    """(C,) correlations of the columns of two (n, C), in float64; 0 where a column does not vary."""
    a, b = (x.double() - x.double().mean(0) for x in (first, second))
    norms = a.norm(dim=0) * b.norm(dim=0)
    return torch.where(norms > 0, (a * b).sum(0) / norms.clamp_min(1e-300), 0.0)


def _mapped(
    rows: Tensor, spec: SymmetrySpec, site: Site, alignment: Alignment | None, member: int
) -> Tensor:
    """Rows of a member in the reference's basis."""
    layer = site.layers[0]
    axis = spec.nodes[layer.output][layer.output_axis]
    names = [
        name
        for name in dict.fromkeys(live_groups(axis))
        if alignment is not None and name in alignment.maps
    ]
    if alignment is None or not names:
        return rows
    duals = [
        name
        for name in names
        if Slot(layer.weight, layer.weight_axis, "consumer") in spec.group(name).slots
    ]
    maps = maps_of_output({name: alignment.maps[name][member] for name in names}, duals)
    return map_features(rows, (Fixed("sampled rows", len(rows)), axis), spec, maps)


def _is_live(spec: SymmetrySpec, site: Site) -> bool:
    layer = site.layers[0]
    return any(True for _ in live_groups(spec.nodes[layer.output][layer.output_axis]))


def _picked(spec: SymmetrySpec, site: Site, picks: Mapping[str, Picks]) -> bool:
    layer = site.layers[0]
    return any(name in picks for name in live_groups(spec.nodes[layer.output][layer.output_axis]))


def _places(
    spec: SymmetrySpec, site: Site, picks: Mapping[str, Picks], member: int, shares: Sequence[float]
) -> Tensor:
    """What share the member has in every channel of the site: all or nothing where it is a unit."""
    layer = site.layers[0]
    term = spec.nodes[layer.output][layer.output_axis]
    return spread(
        term,
        {name: picks[name].owned(member) for name in live_groups(term) if name in picks},
        shares[member],
    )


def _importance(
    spec: SymmetrySpec, state: Mapping[str, Tensor], site: Site, rows: Tensor
) -> Tensor | None:
    """Deviation times norm of outgoing weights of every unit of an aligned member, divided by their
    sum; None where units are no coordinates of one group.
    """
    layer = site.layers[0]
    axis = spec.nodes[layer.output][layer.output_axis]
    if not isinstance(axis, Live) or spec.group(axis.group).over:
        return None
    group = spec.group(axis.group)
    squares = torch.zeros(group.size, dtype=torch.float64, device=rows.device)
    for slot in group.slots:
        if slot.role == "consumer" and slot.tensor in state:
            weight = state[slot.tensor].detach().double().square()
            sums = weight.movedim(slot.axis, -1).reshape(-1, weight.shape[slot.axis]).sum(0)
            squares += features(sums, (spec.axes[slot.tensor][slot.axis],), group).sum(0)
    value = activated(site, rows).double().std(0) * squares.sqrt()
    total = value.sum()
    return value / total if float(total) > 0 else None
