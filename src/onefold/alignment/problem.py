"""What an alignment is computed from: the structure of the networks, where their features are read,
and the moments problem there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onefold.alignment.checkpoint import NO_CHECKPOINT, NoCheckpoint
from onefold.alignment.checks import check_networks
from onefold.alignment.layout import Layout, layouts
from onefold.alignment.probes import ROTATIONS, choose_probes
from onefold.alignment.statistics import Statistics, collect_statistics
from onefold.alignment.structure import check_movable, trace_on
from onefold.batches import Data, check_reiterable, device_of
from onefold.errors import AlignmentError, SettingError, SymmetryError
from onefold.layers import Layer
from onefold.symmetry import SymmetrySpec, TracedNetwork, fold_scales, solve
from onefold.symmetry.axes import Probe, live_groups

DUAL = "'"  # behind a group's name: its features that take the inverse transpose


@dataclass(frozen=True)
class AlignmentProblem:
    """Everything that a matcher needs. probes: group -> where it was read, and group + DUAL ->
    where the features that take the inverse transpose were. layers: those whose output moments
    repair will need.

    reference: None where every pair of members was measured and none is preferred. folds_norms:
    there are batch norms to fold into the layers before, once maps act; the features read are the
    same with and without. folds_scales: the scales of norms were folded into the weights behind
    them before features were read. seconds: of each phase. states, seed: the members' weights as
    they came and where random choices start, for matchers that read weights. specs: what was found
    in each member, where they have unequal widths; `spec` is then the reference's.
    """

    spec: SymmetrySpec
    members: int
    reference: int | None
    statistics: Statistics
    probes: dict[str, tuple[Probe, ...]]
    layers: tuple[Layer, ...]
    folds_norms: bool
    folds_scales: bool
    seconds: dict[str, float]
    states: tuple[Mapping[str, Tensor], ...] = ()
    seed: int = 0
    specs: tuple[SymmetrySpec, ...] | None = None


def build_problem(
    models: Sequence[nn.Module],
    data: Data,
    *,
    spec: SymmetrySpec | None = None,
    reference: int | None = 0,
    probe: str = "post",
    full: bool = True,
    every: bool = False,
    read: bool = True,
    max_positions: int | None = None,
    targets: bool = True,
    seed: int = 0,
    traced: TracedNetwork | None = None,
    numbers: Sequence[int] | None = None,
    scales: bool | None = None,
    checkpoint: NoCheckpoint = NO_CHECKPOINT,
    moves: bool = False,
) -> AlignmentProblem:
    """Check the networks, trace them, and gather the moments of their features in one pass over the
    data.

    Args:
        full: whole covariance matrices, which dense matchers need; False keeps variances.
        every: the cross moments of all pairs of members, which joint matchers need; always with
            reference=None.
        read: False measures what repair needs and no features of groups.
        models, data, spec, reference, probe, max_positions, targets, seed, traced: as in
            `onefold.align`.
        numbers: the models are these among more members, which were checked together. scales:
            whether the scales of norms can be folded in all of them; None: these models show it.
        checkpoint: where the moments are checkpoint, and taken from where they are there already.
        moves: something must move, so that a network in which nothing can is refused.

    Raises:
        NothingToAlignError: `moves`, and nothing can.
        MembersError, WeightsError, TraceError, DataError, SettingError, AlignmentError: as
            `onefold.align`.
    """
    if numbers is None:
        check_networks(models)
        check_reference(reference, len(models))
        check_positions(max_positions)
    data = check_reiterable(data, "calibration data")
    start = time.perf_counter()
    traced = traced or trace_on(models[0], data)
    spec = spec or solve(traced)
    if spec.fingerprint != traced.fingerprint:
        raise AlignmentError(
            "The symmetry spec was found for another architecture than these networks; run"
            " find_symmetries on one of them."
        )
    if moves:
        check_movable(spec, type(models[0]).__name__)
    seconds = {"trace": time.perf_counter() - start}
    start = time.perf_counter()
    folds = any(layer.norm is not None for layer in spec.layers)
    own = [model.state_dict() for model in models]
    folded = (
        fold_all(own, spec)
        if full and scales is not False and any(group.folded for group in spec.groups)
        else None
    )
    states = [_channels_last(state) for state in folded or own]
    probes, where = (
        _probes(spec, probe, rotations=full, folded=folded is not None) if read else ({}, {})
    )
    # What a norm stands behind has a target even where its features stay: else its statistics would
    # be those of the data, and not the members'.
    layers = tuple(
        layer
        for layer in spec.layers
        if targets and not layer.shared and (layer.norm is not None or _is_live(spec, layer))
    )
    statistics = checkpoint.statistics(
        lambda: collect_statistics(
            traced,
            spec,
            states,
            data,
            probes=probes,
            layouts=where,
            reference=reference,
            full=full,
            every=every or reference is None,
            layers=layers,
            max_positions=max_positions,
            seed=seed,
            numbers=numbers,
        ),
        device_of(models[0]),
    )
    seconds["statistics"] = time.perf_counter() - start
    return AlignmentProblem(
        spec,
        len(models),
        reference,
        statistics,
        probes,
        layers,
        folds,
        folded is not None,
        seconds,
        tuple(own),
        seed,
    )


def check_positions(max_positions: int | None) -> None:
    """Raises SettingError where no position would be left."""
    if max_positions is not None and max_positions < 1:
        raise SettingError(f"max_positions is {max_positions}; it must be at least 1.")


def check_reference(reference: int | None, members: int) -> None:
    """Raises AlignmentError where there is no such member."""
    if reference is not None and not 0 <= reference < members:
        raise AlignmentError(
            f"The reference is {reference}, but the members are numbered 0 to {members - 1}."
        )


def _probes(
    spec: SymmetrySpec, kind: str, *, rotations: bool, folded: bool
) -> tuple[dict[str, tuple[Probe, ...]], dict[str, Layout]]:
    """Where every group is read, and how its fibres stand there.

    What numbers the fibres of others is not read: it follows from them.

    rotations: maps may mix features. Of groups that only take maps which keep the function,
    features are then read before nonlinearities, where they turn as the maps do.
    """
    indices = {name for group in spec.groups for name in group.over}
    probes: dict[str, tuple[Probe, ...]] = {}
    where: dict[str, Layout] = {}
    for name, layout in layouts(spec).items():
        group = layout.group
        if name in indices:
            continue
        turning = (
            rotations
            and not group.dense
            and not ROTATIONS.isdisjoint(group.maps | (group.folded if folded else frozenset()))
        )
        for dual in (False, True):
            found = choose_probes(
                spec, group, "pre" if turning else kind, per_fibre=layout.apart, duals=dual
            )
            if found:
                probes[name + DUAL * dual], where[name + DUAL * dual] = found, layout
    return probes, where


def fold_all(
    states: Sequence[Mapping[str, Tensor]], spec: SymmetrySpec
) -> list[dict[str, Tensor]] | None:
    """The states with the scales of norms in the weights behind them; None where a zero scale does
    not let one of them fold.
    """
    try:
        return [fold_scales(state, spec) for state in states]
    except SymmetryError:
        return None


def _channels_last(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with convolution weights in the layout that makes features cheap to read as rows."""
    return {
        k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v
        for k, v in state.items()
    }


def _is_live(spec: SymmetrySpec, layer: Layer) -> bool:
    return any(True for _ in live_groups(spec.nodes[layer.output][layer.output_axis]))
