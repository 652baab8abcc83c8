"""What an alignment is computed from: the structure of the networks, where their features are read, and the moments gathered there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onefold.alignment.collect import Statistics, choose_probes, collect
from onefold.alignment.members import check_networks
from onefold.alignment.structure import trace_on
from onefold.batches import Data, reusable
from onefold.errors import AlignmentError, RecipeError
from onefold.layers import Layer
from onefold.symmetry import SymmetrySpec, TracedNetwork, solve
from onefold.symmetry.spec import Probe, live_groups


@dataclass(frozen=True)
class Gathered:
    """Everything that a matcher needs. probes: group -> where it was read. layers: those whose output moments repair will need.

    folds_norms: there are batch norms to fold into the layers before, once maps act; the features read are the same with and without.
    seconds: of each phase.
    """

    spec: SymmetrySpec
    members: int
    reference: int
    statistics: Statistics
    probes: dict[str, tuple[Probe, ...]]
    layers: tuple[Layer, ...]
    folds_norms: bool
    seconds: dict[str, float]


def gather(
    models: Sequence[nn.Module],
    data: Data,
    *,
    spec: SymmetrySpec | None = None,
    reference: int = 0,
    probe: str = "post",
    full: bool = True,
    max_positions: int | None = None,
    targets: bool = True,
    seed: int = 0,
    traced: TracedNetwork | None = None,
) -> Gathered:
    """Check the networks, trace them, and gather the moments of their features in one pass over the data.

    Args:
        full: whole covariance matrices, which dense matchers need; False keeps variances.
        models, data, spec, reference, probe, max_positions, targets, seed, traced: as in `onefold.align`.

    Raises:
        MembersError, WeightsError, TraceError, DataError, RecipeError, AlignmentError: as `onefold.align`.
    """
    check_networks(models)
    if not 0 <= reference < len(models):
        raise AlignmentError(f"The reference is {reference}, but the members are numbered 0 to {len(models) - 1}.")
    if max_positions is not None and max_positions < 1:
        raise RecipeError(f"max_positions is {max_positions}; it must be at least 1.")
    data = reusable(data, "calibration data")
    start = time.perf_counter()
    traced = traced or trace_on(models[0], data)
    spec = spec or solve(traced)
    if spec.fingerprint != traced.fingerprint:
        raise AlignmentError("The symmetry spec was found for another architecture than these networks; run find_symmetries on one of them.")
    seconds = {"trace": time.perf_counter() - start}
    start = time.perf_counter()
    folds = any(layer.norm is not None for layer in spec.layers)
    states = [_channels_last(model.state_dict()) for model in models]
    indices = {name for group in spec.groups for name in group.over}  # their values number the fibres of other groups, which stay in order
    probes = {g.name: p for g in spec.groups if g.name not in indices and (p := choose_probes(spec, g, probe))}
    layers = tuple(layer for layer in spec.layers if targets and not layer.shared and _is_live(spec, layer))
    statistics = collect(
        traced, spec, states, data, probes=probes, reference=reference, full=full, layers=layers, max_positions=max_positions, seed=seed
    )
    seconds["statistics"] = time.perf_counter() - start
    return Gathered(spec, len(models), reference, statistics, probes, layers, folds, seconds)


def _channels_last(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with convolution weights in the layout that makes features cheap to read as rows."""
    return {k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in state.items()}


def _is_live(spec: SymmetrySpec, layer: Layer) -> bool:
    return any(True for _ in live_groups(spec.nodes[layer.output][layer.output_axis]))
