"""Batch-norm statistics: fold them into the layer before, re-estimate them from data, save and restore them.

Folding. With s = scale / sqrt(variance + eps), a layer W x + b followed by its batch norm equals (s W) x + s (b - mean) + shift. Here the
folded network stays one of the same class: the layer's weight becomes s W, its bias 0, and the norm is *neutralised*: mean s (mean - b), scale
|scale|, variance scale^2 - eps, so that it only shifts. A linear map of the channels may then act on weight, mean and shift alone, and
statistics that are re-estimated later still give the output the mean and deviation that it had.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from onefold.batches import Data, RankShare, batches, device_of, forward, reusable
from onefold.layers import Layer
from onefold.progress import track
from onefold.ranks import sum_over_ranks, together

NormModule = nn.modules.batchnorm._BatchNorm


def fold_norms(state: Mapping[str, Tensor], layers: Sequence[Layer]) -> dict[str, Tensor]:
    """A new state dict of the same function in which the batch norm of every layer that has one is folded and neutralised.

    Computed in float64, returned in the tensors' own dtypes. Layers without a norm, or whose weight is shared, are left as they are.
    """
    folded = dict(state)
    for layer in layers:
        norm = layer.norm
        if norm is None or layer.shared or norm.shift is None or norm.scale is None:
            continue
        mean, variance = state[norm.mean].double(), state[norm.variance].double()
        gain = state[norm.scale].double() / (variance + norm.eps).sqrt()
        bias = state[layer.bias].double() if layer.bias is not None else torch.zeros_like(mean)
        weight = state[layer.weight]
        folded[layer.weight] = scale_output(weight.double(), gain, layer).to(weight.dtype)
        if layer.bias is not None:
            folded[layer.bias] = torch.zeros_like(state[layer.bias])
        folded[norm.scale] = state[norm.scale].abs()
        folded[norm.mean] = (gain * (mean - bias)).to(state[norm.mean].dtype)
    return neutralised(folded, layers)


def neutralised(state: Mapping[str, Tensor], layers: Sequence[Layer]) -> dict[str, Tensor]:
    """A new state dict in which the norm of every layer that has one only shifts: variance = scale^2 - eps. For norms that are folded.

    An average of folded networks needs it again, as the mean of the variances is not that of the scales squared. A scale too small for
    its eps becomes 1.
    """
    result = dict(state)
    for layer in layers:
        norm = layer.norm
        if norm is None or layer.shared or norm.shift is None or norm.scale is None:
            continue
        scale = state[norm.scale].double()
        scale = torch.where(scale**2 > 2 * norm.eps, scale, 1.0)
        result[norm.scale] = scale.to(state[norm.scale].dtype)
        result[norm.variance] = (result[norm.scale].double() ** 2 - norm.eps).to(state[norm.variance].dtype)
    return result


def scale_output(weight: Tensor, gain: Tensor, layer: Layer) -> Tensor:
    """`weight` with each of the layer's output channels multiplied by its entry of `gain` (channels,)."""
    if layer.weight_axis == 1 and layer.groups > 1:  # grouped transposed convolution: (in, out / groups, ...)
        inputs, outputs = weight.shape[:2]
        per_group = gain.reshape(layer.groups, 1, outputs)
        grouped = weight.reshape(layer.groups, inputs // layer.groups, outputs, -1)
        return (grouped * per_group[..., None]).reshape(weight.shape)
    shape = [1] * weight.dim()
    shape[layer.weight_axis] = -1
    return weight * gain.reshape(shape)


def norms_of(module: nn.Module) -> list[NormModule]:
    """The batch norms with running statistics, in the order of `modules()`."""
    return [m for m in module.modules() if isinstance(m, NormModule) and m.running_mean is not None]


def reestimate(module: nn.Module, data: Data, *, only: Collection[str] | None = None) -> int:
    """Recompute the running mean and variance of every batch norm over `data`, in place; weights and training flags stay as they are.

    only: the names of the modules to recompute; None for all.

    Cumulative averages over all batches (no momentum), of a `RankShare` over the batches of all ranks, without gradients; only the batch norms
    run in training mode, so that dropout stays off. Nothing happens where the network has no batch norm. Should a batch fail, the old
    statistics are put back.

    Returns:
        The number of batch norms whose statistics were recomputed.

    Raises:
        DataError: the data is empty, used up, or the network cannot run on it.
    """
    norms = norms_of(module)
    if only is not None:
        wanted = {id(m) for name, m in module.named_modules() if name in only}
        norms = [norm for norm in norms if id(norm) in wanted]
    if not norms:
        return 0
    saved = [{k: v.clone() for k, v in norm.state_dict().items()} for norm in norms]
    with _cumulative(module, norms), torch.no_grad():
        try:
            for norm in norms:
                norm.reset_running_stats()
            shared = isinstance(data, RankShare)
            with together() if shared else nullcontext():
                for batch in track(batches(reusable(data), device_of(module)), "normalisation statistics"):
                    forward(module, batch)
            if shared:
                for norm in norms:
                    _mean_over_batches(norm)
        except BaseException:
            for norm, state in zip(norms, saved, strict=True):
                norm.load_state_dict(state)
            raise
    return len(norms)


def _mean_over_batches(norm: NormModule) -> None:
    """The averages over the batches of every rank."""
    seen, mean, variance = norm.num_batches_tracked, norm.running_mean, norm.running_var
    assert seen is not None
    assert mean is not None
    assert variance is not None
    total = sum_over_ranks(seen)
    for own in (mean, variance):
        own.copy_(sum_over_ranks(own.double() * seen) / total)
    seen.copy_(total)


@contextmanager
def _cumulative(module: nn.Module, norms: list[NormModule]) -> Iterator[None]:
    """Everything in evaluation mode but the batch norms, which average cumulatively; flags and momenta restored on leaving."""
    flags = [(m, m.training) for m in module.modules()]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    try:
        for norm in norms:
            norm.training = True
            norm.momentum = None
        yield
    finally:
        for m, flag in flags:
            m.training = flag
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
