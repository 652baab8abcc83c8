"""The members in one basis, before parts of one may stand beside parts of another.

Independent members keep their features in orders of their own, so that unaligned gates can only
select one member. Members that share an origin are aligned as they are. "auto" tries several ways
on labelled data and keeps the one that gives the plain average the lowest loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from onefold.alignment import Alignment, matchers
from onefold.alignment import align as compute_alignment
from onefold.batches import Batch, device_of
from onefold.batchnorm import fold_norms
from onefold.distributed import from_first_rank
from onefold.errors import (
    AlignmentError,
    DataError,
    MembersError,
    NothingToAlignError,
    SettingError,
    TraceError,
    WeightsError,
    nearest,
)
from onefold.fold.soft.copies import shared_copy
from onefold.fold.soft.examples import Examples
from onefold.fold.soft.screening import fitted_loss
from onefold.fold.soft.sites import Site, layer_sites, tensor_names
from onefold.fold.soft.weighted import GatedLayers
from onefold.layers import Layer
from onefold.measure.scores import flatten
from onefold.symmetry import apply_maps
from onefold.weights import check_members, check_state

Read = Callable[
    [Any, Batch], Tensor
]  # from what a network returns on a batch to logits (..., classes)
AUTO = (
    "permutation",
    "cca",
)  # the first keeps every member's function; the second, a dense map, often averages better


@dataclass(frozen=True)
class CommonBasis:
    """One state dict for each member. alignment: of the `aligned` members, by position there; None
    where they were left as they are.

    unfit: members that cannot be brought into the basis, and why. notes: what was decided, one
    sentence each.
    """

    states: list[dict[str, Tensor]]
    alignment: Alignment | None = None
    aligned: tuple[int, ...] = ()
    unfit: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def check_alike(models: Sequence[nn.Module], align: str | Alignment) -> None:
    """Refuse members whose parts cannot stand for one another, and unknown alignments.

    Values may be NaN; they are masked later.

    Raises:
        MembersError: the members differ in class, keys or shapes. SettingError: there is no such
            alignment.
        AlignmentError: the alignment was computed for another number of members.
    """
    hint = (
        "gates of parts need one architecture; use level='model', where any networks of one task"
        " can be merged"
    )
    for k, model in enumerate(models[1:], start=1):
        if type(model) is not type(models[0]):
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
    elif align not in ("auto", "none") and align not in matchers:
        raise SettingError(
            f"There is no alignment '{align}';"
            f" {nearest(align, [*matchers.names(), 'auto', 'none'])}"
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
    seed: int = 0,
) -> CommonBasis:
    """Bring the survivors into the basis of `reference`; members that are out keep their own. read:
    the logits among what a network returns.

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
        return CommonBasis(
            _mapped(raw, align, range(len(members)), reference, sites, level),
            align,
            tuple(range(len(members))),
        )
    unfit = {k: why for k in survivors if (why := _not_finite(members[k], k)) and k != reference}
    able = [k for k in survivors if k not in unfit]
    notes: list[str] = []
    if len(able) < 2:
        return CommonBasis(
            raw, unfit=unfit, notes=["only one member is left, so nothing was aligned"]
        )
    if examples is None:
        raise SettingError(
            f"align='{align}' needs data to align with; call soft.prepare(labelled_data), or pass"
            " data=, or align='none'."
        )
    network, index = members[reference], able.index(reference)
    everywhere = layer_sites(network)
    found: dict[str, tuple[float, Alignment | None]] = {}
    states: dict[str, list[dict[str, Tensor]]] = {}
    if align == "auto":
        found["none"] = (
            average_loss(network, everywhere, [raw[k] for k in able], examples, read),
            None,
        )
    for method in AUTO if align == "auto" else (align,):
        try:
            alignment = compute_alignment(
                [members[k] for k in able],
                list(examples),
                method=method,
                reference=index,
                targets=False,
                seed=seed,
            )
            states[method] = _mapped(raw, alignment, able, reference, sites, level)
        except (TraceError, DataError, SettingError, NothingToAlignError) as error:
            if align != "auto":
                raise
            notes.append(f"{method} was not tried: {error}")
            continue
        loss = 0.0
        if align == "auto":
            whole = _mapped(raw, alignment, able, reference, everywhere, "layer")
            loss = average_loss(network, everywhere, [whole[k] for k in able], examples, read)
        found[method] = loss, alignment
    losses = from_first_rank({name: loss for name, (loss, _) in found.items()})
    best = min(losses, key=lambda name: losses[name])
    if align == "auto":
        told = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        notes.append(
            f"alignment chosen by the loss of the plain average at its best temperature: {best}"
            f" ({told} nats)"
        )
    chosen = found[best][1]
    if chosen is None:
        return CommonBasis(raw, notes=notes)
    return CommonBasis(states[best], chosen, tuple(able), unfit, notes + chosen.warnings)


@torch.no_grad()
def average_loss(
    network: nn.Module,
    sites: Sequence[Site],
    states: Sequence[Mapping[str, Tensor]],
    examples: Examples,
    read: Read,
) -> float:
    """The loss in nats, at its best temperature, of the plain average of these states; norms use
    the statistics of the batch.
    """
    alive = torch.ones(len(sites), len(states), dtype=torch.bool)
    body = GatedLayers(shared_copy(network, states[0]), sites, states, alive)
    device = device_of(network)
    weights = body.weights(
        torch.full((len(sites), len(states)), 1.0 / len(states), device=device), batch=True
    )
    rows = [
        flatten(read(body.run(weights, b.args, b.kwargs, batch=True), b), b.labels)
        for b in examples.batches(256)
        if b.labels is not None
    ]
    logits = torch.cat([logits for logits, _ in rows])
    return (
        fitted_loss(logits, torch.cat([labels for _, labels in rows]))
        if bool(logits.isfinite().all())
        else float("inf")
    )


def _mapped(
    states: Sequence[dict[str, Tensor]],
    alignment: Alignment,
    able: Sequence[int],
    reference: int,
    sites: Sequence[Site],
    level: str,
) -> list[dict[str, Tensor]]:
    """The members' states in the reference's basis.

    Norms are folded into gated layers, whose raw channels have scales of their own.

    What is not gated stays bit for bit as it is in the reference.
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
    result = list(states)
    for position, k in enumerate(able):
        folds: Sequence[Layer] = (
            ()
            if level == "module" and not dense
            else spec.layers
            if dense and k != reference
            else pairs
        )
        state = fold_norms(states[k], folds)
        own = {group: maps[position] for group, maps in alignment.maps.items()}
        result[k] = state if k == reference else apply_maps(state, spec, own)
    return result


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
