"""A common basis for the members, in which parts of one can take the place of parts of another.

Independent members hold their features in orders of their own, so that unaligned gates can only
select one member. Members that share an origin are used as they are. "auto" tries several
alignments on labelled data, and takes the one that gives the plain average the lowest loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from onefold.alignment import Alignment, feature_matchers
from onefold.alignment import align as compute_alignment
from onefold.batches import Batch, device_of
from onefold.batchnorm import fold_norms
from onefold.distributed import from_first_rank
from onefold.errors import (
    AlignmentError,
    DataError,
    MembersError,
    Note,
    NothingToAlignError,
    SettingError,
    TraceError,
    WeightsError,
    nearest,
)
from onefold.fold.soft.answered import best_loss
from onefold.fold.soft.copies import shared_copy
from onefold.fold.soft.examples import Examples
from onefold.fold.soft.sites import Site, layer_sites, tensor_names
from onefold.fold.soft.weighted import GatedLayers
from onefold.given import same_class
from onefold.layers import Layer, ScaleFold
from onefold.symmetry import SymmetrySpec, apply_maps, fold_scales
from onefold.tasks import Rows, Task
from onefold.tasks.reading import tempered
from onefold.weights import check_members, check_state

# From what a network returns on a labelled batch to rows with their targets.
Read = Callable[[Any, Batch], Rows]
# The first keeps every member's function. The second, a dense map, often averages better.
AUTO = ("permutation", "cca")


@dataclass(frozen=True)
class CommonBasis:
    """The members' state dicts in one basis.

    Attributes:
        states: one for each member.
        alignment: of the `aligned` members, by position there; None if all were left as they are.
        aligned: the numbers of the aligned members.
        unfit: member that cannot be brought into the basis -> why.
        notes: what was decided, one sentence each.
    """

    states: list[dict[str, Tensor]]
    alignment: Alignment | None = None
    aligned: tuple[int, ...] = ()
    unfit: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def check_alike(models: Sequence[nn.Module], align: str | Alignment) -> None:
    """Refuse members whose parts cannot stand for one another, and unknown alignments.

    Values may be NaN: they are masked later.

    Raises:
        MembersError: the members differ in class, keys or shapes.
        SettingError: there is no such alignment.
        AlignmentError: the alignment was computed for another number of members.
    """
    hint = (
        "gates of parts need one architecture; use level='model', where any networks of one task"
        " can be merged"
    )
    for k, model in enumerate(models[1:], start=1):
        if not same_class(model, models[0]):
            raise MembersError(
                f"Member 0 is a {type(models[0]).__name__} but member {k} is a"
                f" {type(model).__name__}; {hint}."
            )
    try:
        check_members(
            [model.state_dict() for model in models], [f"member {k}" for k in range(len(models))]
        )
    except MembersError as error:
        raise MembersError(f"{str(error).rstrip('.')}: {hint}.") from error
    if isinstance(align, Alignment):
        if align.members != len(models):
            raise AlignmentError(
                f"The alignment was computed for {align.members} members but {len(models)} were"
                " given; pass all of them, in order."
            )
    elif align not in ("auto", "none") and align not in feature_matchers:
        raise SettingError(
            f"There is no alignment '{align}';"
            f" {nearest(align, [*feature_matchers.names(), 'auto', 'none'])}"
        )


def common_basis(
    members: Sequence[nn.Module],
    survivors: Sequence[int],
    sites: Sequence[Site],
    align: str | Alignment,
    reference: int,
    examples: Examples | None,
    *,
    level: str,
    read: Read,
    task: Task | None,
    seed: int = 0,
) -> CommonBasis:
    """The survivors in the basis of `reference`. Members that are out stay in their own.

    Args:
        members: all networks.
        survivors: the members that take part.
        sites: what is gated.
        align: "auto", "none", the name of a matcher, or an Alignment.
        reference: the member whose basis is used.
        examples: labelled examples to align with; None if there are none.
        level: "module" or "layer".
        read: the rows among what a network returns, with their targets.
        task: that the rows are of; None if there are no examples.
        seed: of the alignment.

    Raises:
        SettingError: an alignment is to be computed without examples, or a dense one would part a
            gated layer from its ungated norm.
        TraceError: a named alignment needs a trace of the network, and there is none. Others as
            `onefold.align`.
    """
    raw = [
        {name: value.detach() for name, value in model.state_dict().items()} for model in members
    ]
    if align == "none":
        return CommonBasis(raw)
    if isinstance(align, Alignment):
        everyone = tuple(range(len(members)))
        states = _mapped(raw, align, everyone, reference, sites, level)
        return CommonBasis(states, align, everyone)
    unfit = {k: why for k in survivors if (why := _not_finite(members[k], k)) and k != reference}
    able = [k for k in survivors if k not in unfit]
    if len(able) < 2:
        note = "only one member is left, so nothing was aligned"
        return CommonBasis(raw, unfit=unfit, notes=[note])
    if examples is None:
        raise SettingError(
            f"align='{align}' needs data to align with; call soft.prepare(labelled_data), or pass"
            " data=, or align='none'."
        )
    search = _Search(raw, members, able, reference, sites, level, examples, seed)
    if align != "auto":
        alignment, states = search.aligned(align)
        return CommonBasis(states, alignment, tuple(able), unfit, list(alignment.warnings))
    assert task is not None
    return _best_basis(search, read, task, unfit)


@dataclass(frozen=True)
class _Search:
    """The members that an alignment is computed for.

    Attributes:
        raw: the state dicts of all members.
        networks: all members.
        able: the members that can be aligned.
        reference: the member whose basis is used.
        sites: what is gated.
        level: "module" or "layer".
        examples: the data to align with.
        seed: of the alignment.
    """

    raw: list[dict[str, Tensor]]
    networks: Sequence[nn.Module]
    able: Sequence[int]
    reference: int
    sites: Sequence[Site]
    level: str
    examples: Examples
    seed: int

    def aligned(self, method: str) -> tuple[Alignment, list[dict[str, Tensor]]]:
        """The alignment by a method, and all members' states in its basis.

        Raises:
            SettingError: see `common_basis`. Others as `onefold.align`.
        """
        alignment = compute_alignment(
            [self.networks[k] for k in self.able],
            list(self.examples),
            method=method,
            reference=self.able.index(self.reference),
            seed=self.seed,
        )
        return alignment, _mapped(
            self.raw, alignment, self.able, self.reference, self.sites, self.level
        )

    def loss(self, alignment: Alignment | None, read: Read, task: Task) -> float:
        """The loss of the plain average of whole members in the alignment's basis."""
        network, states = self.networks[self.reference], self.raw
        sites = layer_sites(network)
        if alignment is not None:
            states = _mapped(self.raw, alignment, self.able, self.reference, sites, "layer")
        own = [states[k] for k in self.able]
        return average_loss(network, sites, own, self.examples, read, task)


def _best_basis(search: _Search, read: Read, task: Task, unfit: dict[int, str]) -> CommonBasis:
    """The basis in which the plain average has the lowest loss: the members' own, or of AUTO."""
    losses = {"none": search.loss(None, read, task)}
    found: dict[str, tuple[Alignment, list[dict[str, Tensor]]]] = {}
    notes: list[str] = []
    for method in AUTO:
        try:
            found[method] = search.aligned(method)
        except (TraceError, DataError, SettingError, NothingToAlignError) as error:
            notes.append(f"{method} was not tried: {error}")
            continue
        losses[method] = search.loss(found[method][0], read, task)
    losses = from_first_rank(losses)
    best = min(losses, key=lambda name: losses[name])
    told = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    chosen = "alignment chosen by the loss of the plain average"
    chosen += " at its best temperature" * tempered(task)
    unit = task.kind(task.loss).unit
    notes.append(Note(f"{chosen}: {best} ({told}{f' {unit}' * bool(unit)})"))
    if best == "none":
        return CommonBasis(search.raw, notes=notes)
    alignment, states = found[best]
    return CommonBasis(states, alignment, tuple(search.able), unfit, [*notes, *alignment.warnings])


@torch.no_grad()
def average_loss(
    network: nn.Module,
    sites: Sequence[Site],
    states: Sequence[Mapping[str, Tensor]],
    examples: Examples,
    read: Read,
    task: Task,
) -> float:
    """The loss, at its best temperature if it has one, of the plain average of these states.

    Norms use the statistics of the batch. The loss is infinite if an output is not finite.
    """
    alive = torch.ones(len(sites), len(states), dtype=torch.bool)
    body = GatedLayers(shared_copy(network, states[0]), sites, states, alive)
    gates = torch.full(
        alive.shape, 1.0 / len(states), device=device_of(network), dtype=torch.float32
    )
    weights = body.weights(gates, batch=True)
    found = [
        read(body.run(weights, b.args, b.kwargs, batch=True), b)
        for b in examples.batches(256)
        if b.labels is not None
    ]
    values = torch.cat([rows.values for rows in found])
    if not bool(values.isfinite().all()):
        return float("inf")
    values = values.double() if task.wide else values.float()
    return best_loss(values, torch.cat([rows.targets for rows in found]), task)


def _mapped(
    states: Sequence[dict[str, Tensor]],
    alignment: Alignment,
    able: Sequence[int],
    reference: int,
    sites: Sequence[Site],
    level: str,
) -> list[dict[str, Tensor]]:
    """The members' states in the reference's basis.

    Norms are folded into gated layers, whose raw channels have scales of their own. What is not
    gated stays bit for bit as it is in the reference.
    """
    spec = alignment.spec
    gated = {name for site in sites for name in tensor_names(site, states[reference])}
    dense = any(m.kind == "dense" for maps in alignment.maps.values() for m in maps)
    pairs = [layer for layer in spec.layers if layer.norm is not None and _whole(layer, gated)]
    if dense:
        for layer in spec.layers:
            if layer.norm is not None and _parted(layer, gated):
                raise SettingError(
                    f"'{layer.weight}' and the norm behind it are not both gated, which a dense"
                    " alignment takes as one; gate both or permute."
                )
    scales = _scales(spec, gated) if alignment.folds_scales else []
    result = list(states)
    for position, k in enumerate(able):
        folds: Sequence[Layer] = pairs
        if dense and k != reference:
            folds = spec.layers
        elif level == "module" and not dense:
            folds = ()
        state = fold_norms(states[k], folds)
        if alignment.folds_scales:
            own = spec if k != reference else replace(spec, scales=tuple(scales))
            state = fold_scales(state, own)
        maps = {group: of_group[position] for group, of_group in alignment.maps.items()}
        result[k] = state if k == reference else apply_maps(state, spec, maps)
    return result


def _scales(spec: SymmetrySpec, gated: Collection[str]) -> list[ScaleFold]:
    """The scales of norms that are gated with the weights behind them.

    Raises:
        SettingError: a scale is gated without those weights, or they without it.
    """
    found = []
    for fold in spec.scales:
        names = {fold.scale, *(name for name, _ in fold.consumers)}
        if names <= set(gated):
            found.append(fold)
        elif names & set(gated):
            raise SettingError(
                f"'{fold.scale}' and the weights behind it are not all gated, which a dense"
                " alignment takes as one; gate all or permute."
            )
    return found


def _whole(layer: Layer, gated: Collection[str]) -> bool:
    return layer.norm is not None and layer.weight in gated and layer.norm.mean in gated


def _parted(layer: Layer, gated: Collection[str]) -> bool:
    return layer.norm is not None and (layer.weight in gated) != (layer.norm.mean in gated)


def _not_finite(model: nn.Module, k: int) -> str | None:
    try:
        check_state(model.state_dict(), f"member {k}")
    except WeightsError:
        return "it holds NaN or infinity, so that it cannot be aligned"
    return None
