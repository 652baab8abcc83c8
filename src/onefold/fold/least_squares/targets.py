"""What the folded layers shall put out: the members' outputs in the reference's basis, made to one target.

    equal         t = sum_k a_k z_k
    correlation   t = z_0 + sum_k a_k rho_k (z_k - z_0): member k's unit enters with its weight times its correlation with the reference's unit
    selection     the same with rho = 1, but where the least correlation is below a threshold the one unit of most importance: its deviation
                  times the norm of its outgoing weights, divided by the sum of these over the member's layer
    pruning       of all members' units those that the next layers can least do without (`units.py`), each as its own member has it. What is no
                  unit that can be picked is weighed as by "correlation"

z_k = T_k (member k's own output): the map acts on what the member computes, not on its weights. For a permutation both are the same; through a
dense map's nonlinearities a mapped member is no more what it was, and its own outputs, mapped, are the better target.
Correlations are taken behind the activation that reads the target. Outputs that no map can move get the plain weighted mean; where the ensemble is
the mean of probabilities, the network's own output gets log sum_k a_k softmax(z_k), less its mean over the classes.

Memory: the sampled rows of all targets, three times (the target, the reference's, one member's), four times for the selection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.alignment import Alignment
from onefold.alignment.matching import maps_of_output
from onefold.batches import Batch
from onefold.errors import DataError
from onefold.fold.least_squares.picks import Picks
from onefold.fold.least_squares.rows import Sample, draw
from onefold.fold.least_squares.sites import Site, activated
from onefold.measure.scores import EnsembleMean
from onefold.progress import track
from onefold.symmetry import SymmetrySpec, TracedNetwork, features, map_features
from onefold.symmetry.probing import spread
from onefold.symmetry.spec import Fixed, Live, Slot, live_groups

TARGETS = ("correlation", "equal", "selection", "pruning")
_SPREAD = 7919  # seeds of neighbouring batches and sites lie apart


@dataclass(frozen=True)
class Calibration:
    """The batches, and which positions of each are sampled: `per` of each example; the last `held` of all examples are held out."""

    batches: Sequence[Batch]
    rows: int
    seed: int
    share: float = 0.15

    @property
    def examples(self) -> int:
        return sum(batch.size for batch in self.batches)

    def held_in(self, batch: int) -> int:
        """How many of the last examples of a batch are held out."""
        sizes = [b.size for b in self.batches]
        first = self.examples - round(self.share * self.examples)  # of the examples held out
        return min(sizes[batch], max(0, sum(sizes[: batch + 1]) - first))

    def sample(self, number: int, site: Site, batch: int, shape: Sequence[int]) -> Sample:
        """A sample of the site of that number in a batch, where the target's value has that shape."""
        generator = torch.Generator().manual_seed(self.seed + _SPREAD * (batch + _SPREAD * number))
        per = max(1, self.rows // self.examples)
        return draw(shape, site.axis, site.geometries[0].example, self.batches[batch].size, per, self.held_in(batch), generator)


def aims(
    traced: TracedNetwork, spec: SymmetrySpec, states: Sequence[Mapping[str, Tensor]], aligned: Sequence[Mapping[str, Tensor]],
    alignment: Alignment | None, sites: Sequence[Site], calibration: Calibration, shares: Sequence[float], reference: int, kind: str,
    threshold: float, picks: Mapping[str, Picks],
    ensemble: EnsembleMean = "logits",
) -> tuple[list[Tensor], list[list[Sample]]]:  # fmt: skip
    """For each site the target of all its sampled rows, in the order of the batches, and the sample of each batch. One member runs at a time.

    picks: of "pruning", which the alignment holds as maps.

    Raises:
        DataError: a member puts out something that is not finite.
    """
    samples: list[list[Sample]] = [[] for _ in sites]
    own = _outputs(traced, states[reference], sites, calibration, samples, reference)
    own = [_mapped(rows, spec, site, alignment, reference) for rows, site in zip(own, sites, strict=True)]  # a common basis maps it too
    picked = [_picked(spec, site, picks) for site in sites]
    goals = [
        rows * _places(spec, site, picks, reference, shares).to(rows) if chosen else rows.clone()
        for site, rows, chosen in zip(sites, own, picked, strict=True)
    ]
    mixed = [ensemble == "probabilities" and is_put_out(traced, spec, site) for site in sites]
    goals = [_log_share(rows, shares[reference]) if whole else rows for rows, whole in zip(goals, mixed, strict=True)]
    kept = [_Pick(_importance(spec, aligned[reference], site, rows), rows) for site, rows in zip(sites, own, strict=True)]
    for k, state in enumerate(states):
        if k == reference or (shares[k] == 0 and not picks):
            continue
        others = _outputs(traced, state, sites, calibration, samples, k)
        for number, site in enumerate(sites):
            rows = _mapped(others[number], spec, site, alignment, k)
            others[number] = rows  # the unmapped ones are let go
            if mixed[number]:
                goals[number] = torch.logaddexp(goals[number], _log_share(rows, shares[k]))
                continue
            if picked[number]:
                goals[number] += rows * _places(spec, site, picks, k, shares).to(rows)
                continue
            rho = torch.ones(rows.shape[1], dtype=rows.dtype, device=rows.device)
            if _is_live(spec, site) and kind != "equal":
                rho = correlations(activated(site, own[number]), activated(site, rows)).to(rows.dtype)
            if kind == "selection":
                kept[number].offer(_importance(spec, aligned[k], site, rows), rows, rho)
                rho = torch.ones_like(rho)
            goals[number] += shares[k] * rho.clamp_min(0.0) * (rows - own[number])
    if kind == "selection":
        for number, site in enumerate(sites):
            if _is_live(spec, site) and kept[number].importance is not None:
                goals[number] = torch.where(kept[number].least < threshold, kept[number].rows, goals[number])
    goals = [rows - rows.mean(1, keepdim=True) if whole else rows for rows, whole in zip(goals, mixed, strict=True)]
    return goals, samples


def is_put_out(traced: TracedNetwork, spec: SymmetrySpec, site: Site) -> bool:
    """Whether the target is what the network returns, class by class."""
    returned = {node.name for end in traced.graph.nodes if end.op == "output" for node in end.all_input_nodes}
    last = len(spec.nodes[site.layers[0].output]) - 1
    return site.target in returned and site.axis == last and not _is_live(spec, site)


def _log_share(rows: Tensor, share: float) -> Tensor:
    return rows.log_softmax(1) + (math.log(share) if share > 0 else -math.inf)


class _Pick:
    """Of every unit the most important member's rows so far, and the least correlation of the others with the reference."""

    def __init__(self, importance: Tensor | None, rows: Tensor) -> None:
        self.importance, self.rows, self.least = importance, rows, torch.ones(rows.shape[1], dtype=rows.dtype, device=rows.device)

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


def _outputs(
    traced: TracedNetwork, state: Mapping[str, Tensor], sites: Sequence[Site], calibration: Calibration, samples: list[list[Sample]], member: int
) -> list[Tensor]:
    """The sampled rows of every site's target in one network. The first network that is run draws the samples."""
    at: dict[str, list[int]] = {}
    for number, site in enumerate(sites):
        at.setdefault(site.target, []).append(number)
    found: list[list[Tensor]] = [[] for _ in sites]
    last = max(at, key={node.name: k for k, node in enumerate(traced.graph.nodes)}.__getitem__)

    def visitor(batch: int) -> Callable[[str, list[Tensor]], None]:
        def read(node: str, values: list[Tensor]) -> None:
            for number in at[node]:
                if len(samples[number]) == batch:
                    samples[number].append(calibration.sample(number, sites[number], batch, values[0].shape))
                rows = samples[number][batch].take(values[0])
                found[number].append(rows if rows.dtype in (torch.float32, torch.float64) else rows.float())

        return read

    for number, batch in enumerate(track(calibration.batches, f"outputs of member {member}")):
        traced.replay([state], batch.args, batch.kwargs, visit=visitor(number), nodes=list(at), until=last)
    joined = []
    for site, parts in zip(sites, found, strict=True):
        rows = torch.cat(parts)
        parts.clear()
        if not bool(torch.isfinite(rows.sum())):
            raise DataError(
                f"Member {member} gives non-finite values at {site.name} on the calibration data; check its weights and the data's scale."
            )
        joined.append(rows)
    return joined


def _mapped(rows: Tensor, spec: SymmetrySpec, site: Site, alignment: Alignment | None, member: int) -> Tensor:
    """Rows of a member in the reference's basis."""
    layer = site.layers[0]
    axis = spec.nodes[layer.output][layer.output_axis]
    names = [name for name in dict.fromkeys(live_groups(axis)) if alignment is not None and name in alignment.maps]
    if alignment is None or not names:
        return rows
    duals = [name for name in names if Slot(layer.weight, layer.weight_axis, "consumer") in spec.group(name).slots]
    maps = maps_of_output({name: alignment.maps[name][member] for name in names}, duals)
    return map_features(rows, (Fixed("sampled rows", len(rows)), axis), spec, maps)


def _is_live(spec: SymmetrySpec, site: Site) -> bool:
    layer = site.layers[0]
    return any(True for _ in live_groups(spec.nodes[layer.output][layer.output_axis]))


def _picked(spec: SymmetrySpec, site: Site, picks: Mapping[str, Picks]) -> bool:
    layer = site.layers[0]
    return any(name in picks for name in live_groups(spec.nodes[layer.output][layer.output_axis]))


def _places(spec: SymmetrySpec, site: Site, picks: Mapping[str, Picks], member: int, shares: Sequence[float]) -> Tensor:
    """What share the member has in every channel of the site: all or nothing where it is a unit."""
    layer = site.layers[0]
    term = spec.nodes[layer.output][layer.output_axis]
    return spread(term, {name: picks[name].owned(member) for name in live_groups(term) if name in picks}, shares[member])


def _importance(spec: SymmetrySpec, state: Mapping[str, Tensor], site: Site, rows: Tensor) -> Tensor | None:
    """Deviation times norm of outgoing weights of every unit of an aligned member, divided by their sum; None where units are no coordinates of
    one group."""
    layer = site.layers[0]
    axis = spec.nodes[layer.output][layer.output_axis]
    if not isinstance(axis, Live) or spec.group(axis.group).over:
        return None
    group = spec.group(axis.group)
    squares = torch.zeros(group.size, dtype=torch.float64, device=rows.device)
    for slot in group.slots:
        if slot.role == "consumer" and slot.tensor in state:
            weight = state[slot.tensor].detach().double().square()
            sums = weight.sum([k for k in range(weight.dim()) if k != slot.axis])
            squares += features(sums, (spec.axes[slot.tensor][slot.axis],), group).sum(0)
    value = activated(site, rows).double().std(0) * squares.sqrt()
    total = value.sum()
    return value / total if float(total) > 0 else None
