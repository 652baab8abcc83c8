"""Targets of the folded layers: the members' outputs in the reference's basis, combined.

- "equal": t = sum_k a_k z_k.
- "correlation": t = z_0 + sum_k a_k rho_k (z_k - z_0). Member k's unit enters with its weight a_k
  times its correlation rho_k with the reference's unit.
- "selection": as "correlation" with rho = 1. If the least correlation of a unit is below a
  threshold, the unit of the most important member is taken instead. Importance is the unit's
  deviation times the norm of its outgoing weights, divided by the sum of these over the member's
  layer.
- "pruning": of all members' units those that the next layers need most (`units.py`), each as its
  own member has it. Channels that are no units which can be selected are combined as by
  "correlation".

z_k = T_k (member k's own output): the map acts on the member's output, not on its weights. For a
permutation both are the same. Through a dense map's nonlinearities a mapped member no longer
computes its own function, so its own outputs, mapped, are the better target. Correlations are
measured behind the activation that reads the target.

Outputs that no map can move get the plain weighted mean. For an ensemble of probabilities, the
network's own output gets log sum_k w_k softmax(z_k + b_k), less its mean over the classes
(`ensemble/pool.py`).

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
from onefold.fold.least_squares.output_layers import OutputNode
from onefold.fold.least_squares.outputs import SiteOutputs
from onefold.fold.least_squares.selection import UnitSelection
from onefold.symmetry import SymmetrySpec, features, map_features
from onefold.symmetry.axes import Fixed, Live, Slot, Term, live_groups
from onefold.symmetry.maps import maps_of_output
from onefold.symmetry.probing import spread

TARGETS = ("correlation", "equal", "selection", "pruning")


def site_targets(
    outputs: SiteOutputs,
    spec: SymmetrySpec,
    aligned: Sequence[Mapping[str, Tensor]],
    alignment: Alignment | None,
    shares: Sequence[float],
    reference: int,
    kind: str,
    threshold: float,
    selections: Mapping[str, UnitSelection],
    pool: ClassPool | None = None,
    output_node: OutputNode | None = None,
) -> list[Tensor]:
    """The target of every site over all its sampled rows, in the order of the batches.

    Args:
        outputs: the members' outputs at the sites.
        spec: the network's symmetries.
        aligned: the members' states in the common basis.
        alignment: the maps into it; None for members that were left as they are.
        shares: the members' weights, which sum to 1.
        reference: the reference's number.
        kind: a name of TARGETS.
        threshold: the least correlation of "selection".
        selections: group -> units of "pruning", which the alignment holds as maps.
        pool: the ensemble of the network's own output; None for the mean of logits.
        output_node: the network's own output; None without a pool.

    Raises:
        DataError: a member gives values that are not finite.
    """
    sites = outputs.sites
    ref_rows = [  # a common basis maps the reference too
        _mapped(rows, spec, site, alignment, reference)
        for rows, site in zip(outputs.of(reference), sites, strict=True)
    ]
    selected = [_is_selected(spec, site, selections) for site in sites]
    targets = [
        rows * _channel_shares(spec, site, selections, reference, shares).to(rows)
        if chosen
        else rows.clone()
        for site, rows, chosen in zip(sites, ref_rows, selected, strict=True)
    ]
    pooled = [pool is not None and is_output_layer(output_node, spec, site) for site in sites]
    targets = [
        pool.log_part(rows, reference) if pool is not None and whole else rows
        for rows, whole in zip(targets, pooled, strict=True)
    ]
    candidates = [
        _MostImportant(_importance(spec, aligned[reference], site, rows), rows)
        for site, rows in zip(sites, ref_rows, strict=True)
        if kind == "selection"
    ]
    for k in range(len(aligned)):
        if k == reference or (shares[k] == 0 and not selections):
            continue
        others = outputs.of(k)
        for number, site in enumerate(sites):
            rows = _mapped(others[number], spec, site, alignment, k)
            others[number] = rows  # the unmapped rows are freed
            if pool is not None and pooled[number]:
                targets[number] = torch.logaddexp(targets[number], pool.log_part(rows, k))
                continue
            if selected[number]:
                share = _channel_shares(spec, site, selections, k, shares).to(rows)
                targets[number] += rows * share
                continue
            rho = torch.ones(rows.shape[1], dtype=rows.dtype, device=rows.device)
            if _is_live(spec, site) and kind != "equal":
                rho = correlations(activated(site, ref_rows[number]), activated(site, rows))
                rho = rho.to(rows.dtype)
            if kind == "selection":
                candidates[number].offer(_importance(spec, aligned[k], site, rows), rows, rho)
                rho = torch.ones_like(rho)
            targets[number] += shares[k] * rho.clamp_min(0.0) * (rows - ref_rows[number])
    if kind == "selection":
        for number, (site, best) in enumerate(zip(sites, candidates, strict=True)):
            if _is_live(spec, site) and best.importance is not None:
                targets[number] = torch.where(best.least < threshold, best.rows, targets[number])
    return [
        rows - rows.mean(1, keepdim=True) if whole else rows
        for rows, whole in zip(targets, pooled, strict=True)
    ]


def is_output_layer(output_node: OutputNode | None, spec: SymmetrySpec, site: Site) -> bool:
    """Whether the site's target is the meant output, class by class."""
    return (
        output_node is not None
        and site.target == output_node.node
        and site.axis == output_node.axis
        and not _is_live(spec, site)
    )


class _MostImportant:
    """The rows of the most important member for every unit, and the least correlation.

    Attributes:
        importance: of that member's units (C,); None if units have none.
        rows: its rows.
        least: the least correlation of the other members' units with the reference's.
    """

    def __init__(self, importance: Tensor | None, rows: Tensor) -> None:
        self.importance, self.rows = importance, rows
        self.least = torch.ones(rows.shape[1], dtype=rows.dtype, device=rows.device)

    def offer(self, importance: Tensor | None, rows: Tensor, rho: Tensor) -> None:
        """Take a further member into account."""
        self.least = torch.minimum(self.least, rho)
        if importance is None or self.importance is None:
            return
        better = importance > self.importance
        self.rows = torch.where(better, rows, self.rows)
        self.importance = torch.maximum(importance, self.importance)


def correlations(first: Tensor, second: Tensor) -> Tensor:
    """Correlations (C,) of the columns of two tensors (n, C), in float64.

    The correlation of a column that does not vary is 0.
    """
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
    return any(True for _ in live_groups(_channels(spec, site)))


def _is_selected(spec: SymmetrySpec, site: Site, selections: Mapping[str, UnitSelection]) -> bool:
    return any(name in selections for name in live_groups(_channels(spec, site)))


def _channels(spec: SymmetrySpec, site: Site) -> Term:
    layer = site.layers[0]
    return spec.nodes[layer.output][layer.output_axis]


def _channel_shares(
    spec: SymmetrySpec,
    site: Site,
    selections: Mapping[str, UnitSelection],
    member: int,
    shares: Sequence[float],
) -> Tensor:
    """The member's share in every channel of the site; all or nothing for a unit."""
    term = _channels(spec, site)
    names = [name for name in live_groups(term) if name in selections]
    return spread(term, {name: selections[name].owned(member) for name in names}, shares[member])


def _importance(
    spec: SymmetrySpec, state: Mapping[str, Tensor], site: Site, rows: Tensor
) -> Tensor | None:
    """Importance of every unit of an aligned member; the units' sum is 1.

    It is the unit's deviation times the norm of its outgoing weights, divided by the sum of these.
    None if units are no coordinates of one group.
    """
    axis = _channels(spec, site)
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
