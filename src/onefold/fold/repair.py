"""REPAIR: give the folded features the means and deviations that the aligned members' features have.

An average of decorrelated features varies too little, layer after layer (variance collapse).
For every output channel of a layer whose features may move, with mean m and deviation s measured in
the folded network, and the targets m* = mean_k m_k and s* = mean_k s_k over the aligned members,
    y  ->  (y - m) s* / s + m*.
With a batch norm behind the layer this is its running statistics and affine part, otherwise the layer's own weight and bias.
The outputs of the network have no target, as nothing may move there. Nor have weights that are used
more than once, and a layer with neither bias nor norm has nothing to write the mean to.

Jordan, Sedghi, Saukh, Entezari & Neyshabur 2023, "REPAIR: REnormalizing Permuted Activations for Interpolation Repair" (arXiv 2211.08403).
All layers are done in one pass: each batch is corrected by its own statistics on the way, as batch norm does in training, so that a layer
sees inputs which are repaired already.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from onefold.alignment import Target, trace_on
from onefold.alignment.moments import Moments
from onefold.batches import Data, RankShare, batches, check_dtype, device_of, dtype_of, reusable
from onefold.batchnorm import reestimate, scale_output
from onefold.errors import DataError
from onefold.layers import Layer, Norm
from onefold.progress import track
from onefold.ranks import together
from onefold.symmetry import SymmetrySpec, TracedNetwork

FLOOR = 1e-6  # a channel whose deviation is below this share of its target is dead: it is shifted but not scaled up


@dataclass
class _Site:
    """One output to repair: a norm (with or without its layer) or a layer without one."""

    node: str
    axis: int
    norm: Norm | None
    layer: Layer | None
    target: Target | None
    moments: Moments | None = None


@dataclass(frozen=True)
class RepairReport:
    """What repair did: how many norms were re-estimated, how many layers rescaled, how many channels were dead, and what was left alone."""

    norms: int = 0
    layers: int = 0
    dead: int = 0
    skipped: list[str] = field(default_factory=list)


def recalibrate(model: nn.Module, data: Data) -> nn.Module:
    """Re-estimate the batch-norm statistics of `model` over `data`, in place, and return it. Weights stay as they are.

    Raises:
        DataError: the data is empty or cannot be run, or the network has no batch norm (it then needs the members' statistics:
            `onefold.merge(..., repair="auto")`).
    """
    if reestimate(model, data) == 0:
        raise DataError(
            f"{type(model).__name__} has no batch norm with running statistics to recalibrate; use onefold.merge(..., repair='auto') instead."
        )
    return model


def repair(model: nn.Module, data: Data, spec: SymmetrySpec, targets: Mapping[str, Target], *, traced: TracedNetwork | None = None) -> RepairReport:
    """Repair a folded network in place: see the equation above. Works with batch norm, without, and with a mixture of both.

    Args:
        model: the folded network, of the architecture that `spec` describes.
        data: calibration batches; labels are ignored. Batches of 64 examples or more give steady statistics. A `RankShare` of them is
            this process's part, and sums run over all processes.
        targets: output node of a layer -> its target (`Alignment.targets`). Norms without a target keep their affine part and are
            re-estimated.

    Raises:
        DataError: the data is empty, used up or cannot be run.
    """
    data = reusable(data, "calibration data")
    device = device_of(model)
    state = {k: v.detach().clone() for k, v in model.state_dict().items()}
    if traced is None:
        traced = trace_on(model, data)
    sites = _sites(spec, state, targets)
    fast = {k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in state.items()}

    def correct(node: str, values: list[Tensor]) -> list[Tensor]:
        return [_corrected(sites[node], values[0], state)]

    dtype = dtype_of(model)
    shared = isinstance(data, RankShare)
    with together() if shared else contextlib.nullcontext():
        for batch in track(batches(data, device, "calibration data"), "repair"):
            check_dtype(batch, dtype)
            traced.replay([fast], batch.args, batch.kwargs, visit=correct, nodes=list(sites))
    if shared:
        for site in sites.values():
            site.moments = (site.moments or Moments(1, len(_aim(site, state)[0]), None, full=False, device=device)).reduced()
    dead = sum(_write(site, state) for site in sites.values())
    model.load_state_dict(state)
    norms = sum(site.norm is not None for site in sites.values())
    skipped = [layer.weight for layer in spec.layers if layer.output in targets and layer.output not in sites]
    return RepairReport(norms, len(sites) - norms, dead, skipped)


def _sites(spec: SymmetrySpec, state: Mapping[str, Tensor], targets: Mapping[str, Target]) -> dict[str, _Site]:
    """All norms, and all layers without one that have a target and a bias to write it to, in graph order."""
    owner = {layer.norm.node: layer for layer in spec.layers if layer.norm is not None}
    sites = {}
    for norm in spec.norms:
        layer = owner.get(norm.node)
        target = targets.get(norm.node) if norm.scale is not None and norm.shift is not None else None
        sites[norm.node] = _Site(norm.node, 1, norm, layer, target)
    for layer in spec.layers:
        if layer.norm is None and layer.bias is not None and not layer.shared and layer.output in targets:
            sites[layer.output] = _Site(layer.output, layer.output_axis, None, layer, targets[layer.output])
    return sites


def _affine(site: _Site, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scale and shift of a site's norm, float64; ones and zeros where it has none."""
    assert site.norm is not None
    mean = state[site.norm.mean].double()
    scale = state[site.norm.scale].double() if site.norm.scale is not None else torch.ones_like(mean)
    shift = state[site.norm.shift].double() if site.norm.shift is not None else torch.zeros_like(mean)
    return scale, shift


def _aim(site: _Site, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation that the site's output shall have: the target's, or what the norm's own affine part asks for."""
    if site.target is not None:
        device = state[site.layer.weight].device if site.layer is not None else site.target.mean.device
        return site.target.mean.to(device), site.target.deviation.to(device)
    scale, shift = _affine(site, state)
    return shift, scale.abs()


def _corrected(site: _Site, value: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """`value` brought to the site's aim by its own batch statistics, which are recorded."""
    rows = value.movedim(site.axis, -1)
    flat = rows.reshape(-1, rows.shape[-1])
    if site.moments is None:
        site.moments = Moments(1, flat.shape[1], None, full=False, device=flat.device)
    own = Moments(1, flat.shape[1], None, full=False, device=flat.device)
    own.update([flat])
    site.moments = site.moments.merge(own)
    mean, deviation = _aim(site, state)
    gain = _gain(own.variances[0].sqrt(), deviation)
    shape = [1] * value.dim()
    shape[site.axis] = -1
    offset = mean - own.means[0] * gain
    return value * gain.to(value.dtype).reshape(shape) + offset.to(value.dtype).reshape(shape)


def _gain(measured: Tensor, wanted: Tensor) -> Tensor:
    alive = measured > FLOOR * wanted.clamp_min(FLOOR)
    return torch.where(alive, wanted / measured.clamp_min(1e-30), 1.0)


def _write(site: _Site, state: dict[str, Tensor]) -> int:
    """Write a site's correction into the state; returns the number of dead channels."""
    assert site.moments is not None
    mean, deviation = site.moments.means[0], site.moments.variances[0].sqrt()
    wanted_mean, wanted = _aim(site, state)
    gain = _gain(deviation, wanted)
    dead = int((gain == 1.0).logical_and(deviation <= FLOOR * wanted.clamp_min(FLOOR)).sum())

    def put(name: str, value: Tensor) -> None:
        state[name] = value.to(state[name].dtype)

    if site.norm is not None:
        # The norm's input statistics follow from its output's, since its running statistics and affine part are known.
        scale, shift = _affine(site, state)
        spread = (state[site.norm.variance].double() + site.norm.eps).sqrt()
        safe = torch.where(scale == 0, 1.0, scale)
        put(site.norm.mean, torch.where(scale == 0, state[site.norm.mean].double(), (mean - shift) * spread / safe + state[site.norm.mean].double()))
        variance = (deviation * spread / safe) ** 2 - site.norm.eps
        put(site.norm.variance, torch.where(scale == 0, state[site.norm.variance].double(), variance.clamp_min(0.0)))
        if site.target is not None and site.norm.scale is not None and site.norm.shift is not None:
            put(site.norm.scale, torch.where(scale < 0, -wanted, wanted))
            put(site.norm.shift, wanted_mean)
        return dead
    layer = site.layer
    assert layer is not None
    assert layer.bias is not None
    state[layer.weight] = scale_output(state[layer.weight].double(), gain, layer).to(state[layer.weight].dtype)
    put(layer.bias, (state[layer.bias].double() - mean) * gain + wanted_mean)
    return dead
