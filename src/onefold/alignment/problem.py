"""The problem that a matcher solves: the networks' structure and the moments of their features."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from onefold.alignment.checkpoint import NO_CHECKPOINT, NoCheckpoint
from onefold.alignment.checks import check_networks
from onefold.alignment.layout import Layout, layouts
from onefold.alignment.matchers import JointMatcher, Matcher, StateMatcher
from onefold.alignment.matchers.identity import Identity
from onefold.alignment.probes import ROTATIONS, choose_probes
from onefold.alignment.statistics import Sampling, Statistics, collect_statistics
from onefold.alignment.structure import check_movable, trace_on
from onefold.batches import Data, check_reiterable, device_of
from onefold.errors import AlignmentError, SettingError, SymmetryError
from onefold.symmetry import SymmetrySpec, TracedNetwork, fold_scales, solve
from onefold.symmetry.axes import Probe

DUAL = "'"  # behind a group's name: its features that take the inverse transpose


@dataclass(frozen=True)
class Reading:
    """The features that are read of the members for a matcher, and how they are read.

    Attributes:
        probe: "pre" or "post": features are read before or after the activation.
        full: whole covariance matrices, which dense matchers need; False reads variances.
        every: the cross moments of all pairs of members, which joint matchers need. They are always
            read if there is no reference.
        features: features are read at all; False for matchers that read weights.
        moves: the matcher moves features, so that a network in which nothing can move is refused.
        positions: at most so many positions of an example are samples; None: all.
        seed: of the draw of positions, and of what is random in a matcher.
    """

    probe: str = "post"
    full: bool = True
    every: bool = False
    features: bool = True
    moves: bool = False
    positions: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.positions is not None and self.positions < 1:
            raise SettingError(f"max_positions is {self.positions}; it must be at least 1.")

    @staticmethod
    def of(matcher: Matcher, positions: int | None = None, seed: int = 0) -> Reading:
        """The reading that a matcher needs.

        Args:
            matcher: the matcher.
            positions: at most so many positions of an example are samples; None: all.
            seed: of the draw of positions, and of what is random in the matcher.
        """
        return Reading(
            probe=matcher.read_at,
            full=matcher.covariances,
            every=isinstance(matcher, JointMatcher),
            features=not isinstance(matcher, StateMatcher),
            moves=not isinstance(matcher, Identity),
            positions=positions,
            seed=seed,
        )


@dataclass(frozen=True)
class AlignmentProblem:
    """Everything that a matcher needs to align networks.

    Attributes:
        spec: the symmetries of the network; of the reference if widths differ.
        members: K.
        reference: the member that the others are mapped to. None: every pair of members was
            measured, and none is preferred.
        statistics: the moments of the groups.
        reading: what was read.
        probes: group -> the nodes where it was read; and group + DUAL -> the nodes where the
            features that take the inverse transpose were read.
        folds_norms: batch norms are folded into the layers before them before maps act. The
            features read are the same with and without.
        folds_scales: the scales of norms were folded into the weights behind them before features
            were read.
        seconds: phase -> seconds.
        states: the members' weights as they came, for matchers that read weights.
        specs: the symmetries of each member, if they have unequal widths; else None.
    """

    spec: SymmetrySpec
    members: int
    reference: int | None
    statistics: Statistics
    reading: Reading = Reading()
    probes: dict[str, tuple[Probe, ...]] = field(default_factory=dict)
    folds_norms: bool = False
    folds_scales: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    states: tuple[Mapping[str, Tensor], ...] = ()
    specs: tuple[SymmetrySpec, ...] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of what was read as plain data, for reports."""
        positions = "all" if self.reading.positions is None else self.reading.positions
        return {"positions of an example": positions}


def build_problem(
    models: Sequence[nn.Module],
    data: Data,
    reading: Reading = Reading(),
    *,
    spec: SymmetrySpec | None = None,
    reference: int | None = 0,
    traced: TracedNetwork | None = None,
    numbers: Sequence[int] | None = None,
    scales: bool | None = None,
    checkpoint: NoCheckpoint = NO_CHECKPOINT,
) -> AlignmentProblem:
    """Check the networks, trace them, and gather the moments of their features in one pass.

    Args:
        models: as in `onefold.align`.
        data: as in `onefold.align`.
        reading: what is read.
        spec: as in `onefold.align`.
        reference: as in `onefold.align`.
        traced: as in `onefold.align`.
        numbers: the numbers of the models among more members, which were checked together; None:
            these models are all members, and are checked here.
        scales: whether the scales of norms can be folded in all members; None: it is found out
            from these models.
        checkpoint: saves the moments, and returns them if they are there already.

    Raises:
        NothingToAlignError: the matcher moves features, and none can move.
        MembersError, WeightsError, TraceError, DataError, AlignmentError: as `onefold.align`.
    """
    if numbers is None:
        check_networks(models)
        check_reference(reference, len(models))
    data = check_reiterable(data, "calibration data")
    start = time.perf_counter()
    traced = traced or trace_on(models[0], data)
    spec = spec or solve(traced)
    check_spec(spec, traced)
    if reading.moves:
        check_movable(spec, type(models[0]).__name__)
    seconds = {"trace": time.perf_counter() - start}
    start = time.perf_counter()
    states = tuple(model.state_dict() for model in models)
    folded = None
    if reading.full and scales is not False and any(group.folded for group in spec.groups):
        folded = fold_all(states, spec)
    probes, chosen_layouts = _probes(spec, reading, folded=folded is not None)
    statistics = checkpoint.statistics(
        lambda: collect_statistics(
            traced,
            spec,
            [channels_last(state) for state in folded or states],
            data,
            probes=probes,
            layouts=chosen_layouts,
            reference=reference,
            full=reading.full,
            every=reading.every or reference is None,
            sampling=Sampling(reading.positions, reading.seed),
            numbers=numbers,
        ),
        device_of(models[0]),
    )
    seconds["statistics"] = time.perf_counter() - start
    return AlignmentProblem(
        spec=spec,
        members=len(models),
        reference=reference,
        statistics=statistics,
        reading=reading,
        probes=probes,
        folds_norms=any(layer.norm is not None for layer in spec.layers),
        folds_scales=folded is not None,
        seconds=seconds,
        states=states,
    )


def check_spec(spec: SymmetrySpec, traced: TracedNetwork) -> None:
    """Refuse symmetries that were found for another architecture.

    Raises:
        AlignmentError: as said.
    """
    if spec.fingerprint != traced.fingerprint:
        raise AlignmentError(
            "The symmetry spec was found for another architecture than these networks; run"
            " find_symmetries on one of them."
        )


def check_reference(reference: int | None, members: int) -> None:
    """Refuse a reference that is no member; None is a common basis.

    Raises:
        AlignmentError: there is no such member.
    """
    if reference is not None and not 0 <= reference < members:
        raise AlignmentError(
            f"The reference is {reference}, but the members are numbered 0 to {members - 1}."
        )


def _probes(
    spec: SymmetrySpec, reading: Reading, *, folded: bool
) -> tuple[dict[str, tuple[Probe, ...]], dict[str, Layout]]:
    """The nodes where every group is read, and the layout of its fibres there.

    A group that numbers the fibres of others is not read: its map follows from theirs. If maps may
    mix features, groups that only take maps which leave the function unchanged are read before
    nonlinearities, where features rotate as the maps do.
    """
    probes: dict[str, tuple[Probe, ...]] = {}
    chosen_layouts: dict[str, Layout] = {}
    if not reading.features:
        return probes, chosen_layouts
    indices = {name for group in spec.groups for name in group.over}
    for name, layout in layouts(spec).items():
        group = layout.group
        if name in indices:
            continue
        allowed = group.maps | (group.folded if folded else frozenset())
        turns = reading.full and not group.dense and not ROTATIONS.isdisjoint(allowed)
        kind = "pre" if turns else reading.probe
        for dual in (False, True):
            chosen = choose_probes(spec, group, kind, per_fibre=layout.apart, duals=dual)
            if chosen:
                probes[name + DUAL * dual] = chosen
                chosen_layouts[name + DUAL * dual] = layout
    return probes, chosen_layouts


def fold_all(
    states: Sequence[Mapping[str, Tensor]], spec: SymmetrySpec
) -> list[dict[str, Tensor]] | None:
    """The states with the scales of norms in the weights behind them.

    None if a scale of zero prevents it in one of them.
    """
    try:
        return [fold_scales(state, spec) for state in states]
    except SymmetryError:
        return None


def channels_last(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with convolution weights in the layout in which rows of features are read fast."""
    return {
        k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v
        for k, v in state.items()
    }
