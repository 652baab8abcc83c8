"""Layer level: every gated layer gets the weights  W = sum_k g_k W_k.

So any number of members costs about one forward pass. For a layer that is linear in its weights
this is the weighted sum of the members' layers applied to the same input,

    sum_k g_k (W_k x + b_k) = (sum_k g_k W_k) x + sum_k g_k b_k.

A norm with running statistics is the affine map  a_k x + b_k  with a_k = weight_k / sqrt(var_k +
eps), b_k = bias_k - a_k mean_k. It gets the weight and bias that make it  (sum_k g_k a_k) x + sum_k
g_k b_k  whatever statistics it holds. With statistics measured on data (`recalibrate`), its weight
and bias are plain weighted sums instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from onefold.fold.soft.sites import RunningNorm, Site


class _WeightedSum(torch.autograd.Function):
    """sum_k g_k T_k for gates (K,) and K tensors of one shape, in at least float32.

    The gradient of g_k is <T_k, gradient>.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, *tensors: Tensor) -> Tensor:
        ctx.tensors = tensors
        ctx.dtype = gates.dtype
        first = tensors[0]
        narrow = first.dtype in (torch.float16, torch.bfloat16)
        wide = torch.float32 if narrow else first.dtype
        if first.device.type == "cpu":  # numbers are at hand, so gates of exactly 0 cost nothing
            shares = gates.tolist()
            total = first.to(wide) * shares[0]
            for share, tensor in zip(shares[1:], tensors[1:], strict=True):
                if share != 0.0:
                    total.add_(tensor, alpha=share)
        else:  # no number may be fetched from the device here, since that would wait for it
            total = first.to(wide) * gates[0].to(wide)
            for k, tensor in enumerate(tensors[1:], start=1):
                total.addcmul_(tensor.to(wide), gates[k].to(wide))
        result: Tensor = total.to(first.dtype)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        flat = gradient.reshape(-1)
        if flat.is_complex():  # of gates, which are real, the real part of <T_k, gradient>
            products = [
                torch.vdot(tensor.reshape(-1).to(flat.dtype), flat).real for tensor in ctx.tensors
            ]
        elif ctx.tensors[0].dim() == 1 and ctx.tensors[0].dtype == flat.dtype:  # the usual case
            products = [torch.dot(flat, tensor) for tensor in ctx.tensors]
        else:
            products = [
                torch.dot(flat, tensor.reshape(-1).to(flat.dtype)) for tensor in ctx.tensors
            ]
        return (torch.stack(products).to(ctx.dtype), *[None] * len(ctx.tensors))


def weighted_sum(gates: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """sum_k gates[k] tensors[k], differentiable in the gates (K,) alone.

    The tensors must be finite: 0 * inf is not 0.
    """
    result: Tensor = _WeightedSum.apply(gates, *tensors)  # type: ignore[no-untyped-call]
    return result


@dataclass(frozen=True)
class _Stack:
    """The live members' tensors of one name.

    Attributes:
        tensors: as they are.
        flat: as vectors that share their memory; None if one of them is not contiguous.
    """

    tensors: list[Tensor]
    flat: list[Tensor] | None

    @staticmethod
    def of(tensors: list[Tensor]) -> _Stack:
        contiguous = all(t.is_contiguous() for t in tensors)
        return _Stack(tensors, [t.view(-1) for t in tensors] if contiguous else None)

    def sum(self, gates: Tensor) -> Tensor:
        if self.flat is None:
            return weighted_sum(gates, self.tensors)
        return weighted_sum(gates, self.flat).view(self.tensors[0].shape)


class GatedLayers:
    """A network whose gated tensors are weighted sums of the members'; the rest is the reference's.

    Args:
        skeleton: the reference's structure around shared tensors.
        sites: the gated layers.
        states: one state dict for each member, in a common basis, of which only the tensors of
            `sites` are read.
        alive: (sites, members), what may be read at all.
    """

    def __init__(
        self,
        skeleton: nn.Module,
        sites: Sequence[Site],
        states: Sequence[Mapping[str, Tensor]],
        alive: Tensor,
    ) -> None:
        self.skeleton = skeleton
        self.sites = list(sites)
        self.live = [[k for k in range(len(states)) if alive[s, k]] for s in range(len(sites))]
        self.whole = [len(live) == len(states) for live in self.live]
        modules = dict(skeleton.named_modules())
        self.norms: dict[str, Any] = {
            site.module: modules[site.module] for site in sites if site.norm
        }
        self.tensors = [
            {name: _Stack.of([states[k][name].detach() for k in live]) for name in _names(site)}
            for site, live in zip(sites, self.live, strict=True)
        ]
        self.affine = [
            self._affine(site, own) if site.norm else None
            for site, own in zip(sites, self.tensors, strict=True)
        ]

    def weights(
        self,
        gates: Tensor,
        statistics: Mapping[str, tuple[Tensor, Tensor]] | None = None,
        *,
        batch: bool = False,
    ) -> dict[str, Tensor]:
        """State-dict name -> gated tensor.

        Args:
            gates: (sites, members).
            statistics: module of a norm -> mean and variance measured on data, which it then holds.
            batch: whether norms use the statistics of the batch.
        """
        result: dict[str, Tensor] = {}
        for s, site in enumerate(self.sites):
            row = gates[s] if self.whole[s] else gates[s][self.live[s]]
            own = self.tensors[s]
            measured = (statistics or {}).get(site.module)
            if site.norm and not batch and measured is None:
                result |= self._norm(site, row, own, self.affine[s])
                continue
            result |= {name: own[name].sum(row) for name in site.tensors}
            if site.norm and measured is not None:
                result[_of(site, "running_mean")], result[_of(site, "running_var")] = measured
        return result

    def run(
        self,
        weights: Mapping[str, Tensor],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        batch: bool = False,
    ) -> Any:
        """The skeleton's output with these weights.

        With `batch`, gated norms use the statistics of the batch, and record none.
        """
        for norm in self.norms.values():
            norm.training = batch
            norm.track_running_stats = not batch
        return functional_call(self.skeleton, dict(weights), args, dict(kwargs))

    def _affine(self, site: Site, own: Mapping[str, _Stack]) -> tuple[list[Tensor], list[Tensor]]:
        """a_k and b_k of a norm, for every live member."""
        eps = float(self.norms[site.module].eps)
        means = own[_of(site, "running_mean")].tensors
        variances = own[_of(site, "running_var")].tensors
        weights, biases = (
            own[name].tensors if (name := _of(site, kind)) in own else None
            for kind in ("weight", "bias")
        )
        slopes = [
            (weights[k] if weights else 1.0) / (v + eps).sqrt() for k, v in enumerate(variances)
        ]
        return slopes, [(biases[k] if biases else 0.0) - slopes[k] * m for k, m in enumerate(means)]

    def _norm(
        self, site: Site, row: Tensor, own: Mapping[str, _Stack], affine: Any
    ) -> dict[str, Tensor]:
        """The tensors of a norm whose output is the weighted sum of the members' outputs."""
        eps = float(self.norms[site.module].eps)
        # Statistics carry no gradient in torch: a norm without weight and bias, whose statistics
        # must say it all, teaches its gates nothing.
        slope, shift = (
            weighted_sum(row if site.tensors else row.detach(), parts) for parts in affine
        )
        if not site.tensors:
            return {
                _of(site, "running_var"): slope**-2 - eps,
                _of(site, "running_mean"): -shift / slope,
            }
        # Whatever the statistics are, they cancel: no gradient flows through them, nor could it
        # through torch's own norm.
        mean, variance = (
            own[_of(site, name)].sum(row.detach()) for name in ("running_mean", "running_var")
        )
        return {
            _of(site, "running_mean"): mean,
            _of(site, "running_var"): variance,
            _of(site, "weight"): slope * (variance + eps).sqrt(),
            _of(site, "bias"): shift + slope * mean,
        }


def _names(site: Site) -> list[str]:
    statistics = [_of(site, "running_mean"), _of(site, "running_var")]
    return [*site.tensors, *(statistics if site.norm else [])]


def _of(site: Site, name: str) -> str:
    return f"{site.module}.{name}".lstrip(".")


__all__ = ["GatedLayers", "RunningNorm", "weighted_sum"]
