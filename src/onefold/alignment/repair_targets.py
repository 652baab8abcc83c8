"""Targets of repair: the mean and deviation of the members' layer outputs, after alignment.

For every output channel of a layer whose features may move, or that a norm follows, over all
calibration examples and positions:

    m* = mean_k (T_k m_k)
    s* = mean_k diag(T_k S_kk T_k')^(1/2)

m_k and S_kk are the mean and covariance of member k's channels. T_k is its map, or the identity
without an alignment. The outputs of the network have no targets.

Jordan, Sedghi, Saukh, Entezari & Neyshabur 2023, "REPAIR: REnormalizing Permuted Activations for
Interpolation Repair" (arXiv 2211.08403).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onefold.alignment.alignment import Alignment
from onefold.alignment.moments import Moments
from onefold.alignment.problem import channels_last, fold_all
from onefold.alignment.statistics import ReadPoint, accumulate
from onefold.alignment.structure import trace_on
from onefold.arguments import checked
from onefold.batches import Data, device_of
from onefold.inference.running import networks
from onefold.isolation import isolated
from onefold.layers import Layer
from onefold.sources import on_disk
from onefold.symmetry import GroupMap, SymmetrySpec, TracedNetwork, map_features, solve
from onefold.symmetry.axes import Slot, Term, live_groups
from onefold.symmetry.maps import maps_of_output

Measured = dict[str, tuple[Tensor, Tensor]]  # node -> mean and deviation (K, channels)


@dataclass(frozen=True)
class Target:
    """The mean and standard deviation (channels,) that repair gives a layer's output, float64."""

    mean: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class Targets:
    """The targets of a network, and the number of examples they were measured on.

    Attributes:
        layers: output node of a layer -> its target.
        examples: how many calibration examples were read, by all processes together.
    """

    layers: dict[str, Target]
    examples: int


@checked
@isolated
def measure_targets(
    models: Sequence[nn.Module],
    data: Data,
    alignment: Alignment | None = None,
    *,
    spec: SymmetrySpec | None = None,
    traced: TracedNetwork | None = None,
) -> Targets:
    """Measure the targets of repair in one pass of all members over the data.

    Members on disk run one after the other, and so do members of unequal widths.

    Args:
        models: the members as they came, in the alignment's order. They are not modified.
        data: calibration batches; labels are ignored.
        alignment: the maps of the members; None: they stay in their own bases.
        spec: the symmetries of the network; of the reference if widths differ. None: those of
            the alignment, or they are found here.
        traced: the network's graph. None: it is traced here.

    Raises:
        DataError: the data is empty, has the wrong dtype or cannot be run.
        TraceError: a batch of another size needs another graph that cannot be traced.
    """
    models = networks(models)
    base = (alignment.reference if alignment else None) or 0
    traced = traced or trace_on(models[base], data)
    spec = spec or (alignment.spec if alignment else solve(traced))
    layers = repaired_layers(spec)
    apart = alignment is not None and alignment.specs is not None
    parts: list[Measured] = []
    examples = 0
    if apart or on_disk(models):
        for k in range(len(models)):  # of members on disk only this one is in memory
            part, examples = _measure_alone(
                models[k], k, data, layers, spec, None if apart else traced, alignment
            )
            parts.append(part)
    elif layers:
        part, examples = _measure(models, range(len(models)), data, layers, spec, traced, alignment)
        parts.append(part)
    # Sorted before they are summed, so that the bits do not depend on the members' order.
    targets = {
        layer.output: Target(
            *(
                torch.cat([part[layer.output][which] for part in parts]).sort(0).values.mean(0)
                for which in (0, 1)
            )
        )
        for layer in layers
    }
    return Targets(targets, examples)


def repaired_layers(spec: SymmetrySpec) -> tuple[Layer, ...]:
    """The layers whose outputs have a target: their features may move, or a norm follows.

    A norm whose features stay has a target, too. Without one its statistics would become those of
    the data, and not the members'. Weights that are used more than once have none.
    """
    return tuple(
        layer
        for layer in spec.layers
        if not layer.shared and (layer.norm is not None or any(live_groups(_axis(spec, layer))))
    )


def _measure_alone(
    member: nn.Module,
    number: int,
    data: Data,
    layers: Sequence[Layer],
    spec: SymmetrySpec,
    traced: TracedNetwork | None,
    alignment: Alignment | None,
) -> tuple[Measured, int]:
    """One member by itself; it is traced if no graph is given, as its width may be its own."""
    graph = traced or trace_on(member, data)
    return _measure([member], [number], data, layers, spec, graph, alignment)


def _measure(
    models: Sequence[nn.Module],
    numbers: Sequence[int],
    data: Data,
    layers: Sequence[Layer],
    spec: SymmetrySpec,
    traced: TracedNetwork,
    alignment: Alignment | None,
) -> tuple[Measured, int]:
    """The mapped means and deviations of these members, which are `numbers` of the alignment."""
    specs = [alignment.specs[k] if alignment and alignment.specs else spec for k in numbers]
    every = alignment.maps if alignment else {}
    maps = [{name: of_group[k] for name, of_group in every.items()} for k in numbers]
    states = [model.state_dict() for model in models]
    if alignment is not None and alignment.folds_scales:
        states = fold_all(states, spec) or states
    states = [channels_last(state) for state in states]
    # Of all members, so that those that run alone are measured to the same bits.
    full = any(m.kind == "dense" for of_group in every.values() for m in of_group)
    moments = {
        layer.output: Moments(
            len(states), _axis(specs[0], layer).size, None, full=full, device=device_of(models[0])
        )
        for layer in layers
    }
    points = {
        layer.output: [(ReadPoint(layer.output, layer=layer), moments[layer.output])]
        for layer in layers
    }
    examples = accumulate(traced, specs[0], states, data, points)
    measured = {
        layer.output: _mapped(specs, layer, moments[layer.output].reduced(), maps)
        for layer in layers
    }
    return measured, examples


def _mapped(
    specs: Sequence[SymmetrySpec],
    layer: Layer,
    moments: Moments,
    maps: Sequence[Mapping[str, GroupMap]],
) -> tuple[Tensor, Tensor]:
    """Mean and deviation (K, channels) of every member's mapped output of a layer."""
    means, deviations = [], []
    for k, spec in enumerate(specs):
        axis = _axis(spec, layer)
        read = Slot(layer.weight, layer.weight_axis, "consumer")
        duals = [name for name in set(live_groups(axis)) if read in spec.group(name).slots]
        member_maps = maps_of_output(maps[k], duals)
        means.append(map_features(moments.means[k], (axis,), spec, member_maps))
        if moments.full:
            covariance = map_features(moments.covariance(k), (axis, axis), spec, member_maps)
            variance = covariance.diagonal()
        else:
            variance = map_features(moments.variances[k], (axis,), spec, member_maps)
        deviations.append(variance.clamp_min(0.0).sqrt())
    return torch.stack(means), torch.stack(deviations)


def _axis(spec: SymmetrySpec, layer: Layer) -> Term:
    return spec.nodes[layer.output][layer.output_axis]
