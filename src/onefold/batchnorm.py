"""Batch-norm statistics: fold them into the layer before, or estimate them again from data.

Folding. With s = scale / sqrt(variance + eps), a layer W x + b followed by its batch norm equals

    (s W) x + s (b - mean) + shift.

Here the folded network stays one of the same class. The layer's weight becomes s W and its bias 0.
The norm is *neutralized*, so that it only shifts: its mean is s (mean - b), its scale |scale|, its
variance scale^2 - eps. A linear map of the channels may then act on weight, mean and shift alone.
Statistics that are estimated again later still give the output the mean and deviation that it had.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from onefold.batches import Data, RankShare, batches, check_reiterable, device_of
from onefold.distributed import from_every_rank, raise_together, sum_over_ranks
from onefold.errors import DataError
from onefold.forward import forward
from onefold.layers import Layer
from onefold.progress import track

# A batch of fewer examples, or of fewer values of a channel, is too small to be normalised by its
# own statistics.
FEW = 8
# Small batches are left out, as a short last batch is, up to this share of the examples.
SMALL = 0.1

NormModule = nn.modules.batchnorm._BatchNorm


def fold_norms(state: Mapping[str, Tensor], layers: Sequence[Layer]) -> dict[str, Tensor]:
    """A new state dict of the same function, with every layer's batch norm folded and neutralized.

    Args:
        state: state dict of the network; it is left as it is.
        layers: layers of the network. Those without a norm, or whose weight is shared, do not
            change.

    Returns:
        The new state dict, computed in float64 and stored in the tensors' own dtypes. Tensors that
            do not change are those of `state`.
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
    return neutralized(folded, layers)


def neutralized(state: Mapping[str, Tensor], layers: Sequence[Layer]) -> dict[str, Tensor]:
    """A new state dict in which folded norms only shift: variance = scale^2 - eps.

    An average of folded networks needs it again, since the mean of the variances is not that of the
    squared scales. A scale too small for its eps becomes 1.

    Args:
        state: state dict whose norms are folded (`fold_norms`); it is left as it is.
        layers: layers of the network. Those without a norm, or whose weight is shared, do not
            change.
    """
    result = dict(state)
    for layer in layers:
        norm = layer.norm
        if norm is None or layer.shared or norm.shift is None or norm.scale is None:
            continue
        scale = state[norm.scale].double()
        scale = torch.where(scale**2 > 2 * norm.eps, scale, 1.0)
        result[norm.scale] = scale.to(state[norm.scale].dtype)
        result[norm.variance] = (result[norm.scale].double() ** 2 - norm.eps).to(
            state[norm.variance].dtype
        )
    return result


def scale_output(weight: Tensor, gain: Tensor, layer: Layer) -> Tensor:
    """`weight` with each output channel of the layer multiplied by its entry of `gain` (C,)."""
    if layer.weight_axis == 1 and layer.groups > 1:
        # a grouped transposed convolution: (in, out / groups, ...)
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
    """Recompute the running mean and variance of every batch norm over `data`, in place.

    Weights and training flags stay as they are. The statistics are cumulative averages over the
    batches (no momentum), without gradients. Of a `RankShare` they are averages over the batches of
    all ranks. Only the batch norms run in training mode, so that dropout stays off.

    Batches of fewer than FEW examples are left out if they hold up to a tenth of the examples. If
    they hold more, every norm gets the mean and variance of all values of the whole data instead,
    since statistics of so small a batch remove what tells the examples apart. The same is done for
    a norm to which a larger batch gives fewer than FEW values of a channel. These norms run in eval
    mode and are measured one after the other, each in a pass over the data.

    Nothing happens if the network has no batch norm. If a batch fails, the old statistics are
    restored.

    Args:
        module: network whose norms are recomputed.
        data: batches that can be read more than once.
        only: names of the modules to recompute; None for all.

    Returns:
        The number of batch norms whose statistics were recomputed.

    Raises:
        DataError: the data is empty or used up, the network cannot run on it, or all of it gives a
            norm one value of each channel.
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
            few = _averaged(module, data, norms)
            for norm in few:
                _pooled(module, data, norm)
            if few and (rest := [norm for norm in norms if norm not in few]):
                _averaged(module, data, rest)
        except BaseException:
            for norm, state in zip(norms, saved, strict=True):
                norm.load_state_dict(state)
            raise
    return len(norms)


def _averaged(module: nn.Module, data: Data, norms: Sequence[NormModule]) -> list[NormModule]:
    """Average the statistics of the batches, as in training mode.

    Returns:
        The norms for which batches are too small, in the order in which they run.
    """
    for norm in norms:
        norm.reset_running_stats()
    least = dict.fromkeys(norms, FEW)  # norm -> fewest values of a channel, FEW at most

    def check(norm: NormModule, value: Tensor) -> None:
        count = value.numel() // max(1, value.shape[1])
        norm.training = count >= FEW  # torch refuses one value in training mode
        least[norm] = min(count, least[norm])

    sizes = torch.zeros(2, dtype=torch.int64)  # examples in small batches, and in all
    shared = isinstance(data, RankShare)
    reader = batches(check_reiterable(data), device_of(module))
    with _hooked(norms, check), raise_together() if shared else nullcontext():
        for batch in track(reader, "normalisation statistics"):
            sizes += torch.tensor([batch.size if batch.size < FEW else 0, batch.size])
            if batch.size >= FEW:
                forward(module, batch)
    if shared:
        sizes = sum_over_ranks(sizes)
        of_ranks = from_every_rank(list(least.values()))
        least = {norm: min(counts[k] for counts in of_ranks) for k, norm in enumerate(norms)}
    few = norms if too_small(*sizes.tolist()) else [norm for norm in norms if least[norm] < FEW]
    if few:
        return _as_they_run(module, data, few)
    for norm in norms if shared else ():
        _mean_over_batches(norm)
    return []


def too_small(small: int, examples: int) -> bool:
    """Whether so many of the examples lie in small batches that these cannot be left out."""
    return small > SMALL * examples


def _as_they_run(module: nn.Module, data: Data, norms: Sequence[NormModule]) -> list[NormModule]:
    """The norms in the order in which the first batch runs them, without those that it skips."""
    order: dict[int, None] = {}
    numbers = {norm: k for k, norm in enumerate(norms)}
    for norm in norms:
        norm.training = False
    with _hooked(norms, lambda norm, _: order.setdefault(numbers[norm])):
        for batch in batches(data, device_of(module)):
            forward(module, batch)
            break
    orders = from_every_rank(list(order)) if isinstance(data, RankShare) else [list(order)]
    return [norms[k] for k in max(orders, key=len)]


def _pooled(module: nn.Module, data: Data, norm: NormModule) -> None:
    """Give a norm the mean and unbiased variance of all values that it reads.

    If the norm runs several times in one run of the network, these are averaged over its calls. The
    norm runs in eval mode. What it reads at a later call depends on what it returned at the first
    one, so that a norm with several calls is measured in two passes.
    """
    name = next(name for name, m in module.named_modules() if m is norm)
    shared = isinstance(data, RankShare)
    calls = _take_over(norm, _sums(module, data, norm), shared=shared, name=name)
    if calls > 1:
        _take_over(norm, _sums(module, data, norm), shared=shared, name=name)


def _sums(module: nn.Module, data: Data, norm: NormModule) -> list[list[Tensor]]:
    """Count, mean and squares about the mean of a norm's input, for each of its calls, float64."""
    sums: list[list[Tensor]] = []
    call = seen = 0

    def add(_: NormModule, value: Tensor) -> None:
        nonlocal call
        rows = value.detach().movedim(1, -1).flatten(0, -2).double()
        if call == len(sums):
            channels = rows.shape[1]
            sums.append([rows.new_zeros(()), rows.new_zeros(channels), rows.new_zeros(channels)])
        count, mean, squares = sums[call]
        gap, total = rows.mean(0) - mean, count + len(rows)
        squares += (rows - rows.mean(0)).square().sum(0) + gap.square() * count * len(rows) / total
        mean += gap * len(rows) / total
        count += len(rows)
        call += 1

    reader = batches(check_reiterable(data), device_of(module))
    with _hooked([norm], add), raise_together() if isinstance(data, RankShare) else nullcontext():
        for batch in track(reader, "normalisation statistics"):
            call = 0
            forward(module, batch)
            seen += 1
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.fill_(seen)
    return sums


def _take_over(norm: NormModule, sums: list[list[Tensor]], *, shared: bool, name: str) -> int:
    """Write the sums into the norm's statistics, over all ranks if the data is `shared`.

    Returns:
        How often the norm is called in one run of the network.

    Raises:
        DataError: the norm sees one value of each channel in all of the data.
    """
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    calls = max(from_every_rank(len(sums))) if shared else len(sums)
    means, variances = [], []
    for k in range(calls):
        zeros = torch.zeros_like(mean, dtype=torch.float64)
        empty = [mean.new_zeros((), dtype=torch.float64), zeros, zeros]
        count, mean_here, squares = sums[k] if k < len(sums) else empty
        total = sum_over_ranks(count) if shared else count
        if total < 2:
            raise DataError(
                f"The norm '{name}' sees one value of each channel in all of the data, which has no"
                " variance; pass more examples."
            )
        weighted = count * mean_here
        pooled = (sum_over_ranks(weighted) if shared else weighted) / total
        spread = squares + count * (mean_here - pooled).square()
        means.append(pooled)
        variances.append((sum_over_ranks(spread) if shared else spread) / (total - 1))
    mean.copy_(torch.stack(means).mean(0))
    variance.copy_(torch.stack(variances).mean(0))
    return calls


@contextmanager
def _hooked(
    norms: Sequence[NormModule], hook: Callable[[NormModule, Tensor], None]
) -> Iterator[None]:
    """Call `hook` with each of the norms and its input, before it runs."""

    def before(norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(norm, NormModule)
        hook(norm, args[0] if args else kwargs["input"])

    handles = [norm.register_forward_pre_hook(before, with_kwargs=True) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mean_over_batches(norm: NormModule) -> None:
    """Average the statistics of a norm over the batches of every rank."""
    seen, mean, variance = norm.num_batches_tracked, norm.running_mean, norm.running_var
    assert seen is not None
    assert mean is not None
    assert variance is not None
    total = sum_over_ranks(seen)
    for statistic in (mean, variance):
        statistic.copy_(sum_over_ranks(statistic.double() * seen) / total)
    seen.copy_(total)


@contextmanager
def _cumulative(module: nn.Module, norms: list[NormModule]) -> Iterator[None]:
    """Run everything in eval mode but the batch norms, which average cumulatively.

    Flags and momenta are restored on leaving.
    """
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
