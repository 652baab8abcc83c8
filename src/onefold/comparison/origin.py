"""Whether several networks went on from one: their plain average is then a network of their kind.

    likeness = min_k  <w_0, w_k> / (|w_0| |w_k|)

over all weights with two axes or more is near 0 for networks that were drawn apart, whatever they
learnt, since their units come in another order. Vectors (biases, scales of norms) are left out, as
they are alike in all networks. A likeness well above 0 does not suffice: networks that began alike
may have come apart while they were trained (Frankle et al. 2020, arXiv 1912.05671). So the average
of such members is run, and must be no farther from their ensemble than they are. For fine-tunes of
one network it is nearer: Wortsman et al. 2022, "Model soups" (arXiv 2203.05482).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onefold.batches import Data
from onefold.batchnorm import norms_of, reestimate
from onefold.caches import clear_eval_caches
from onefold.copying import copied

# The least likeness at which the average is run. Networks that were drawn apart have less than 0.1,
# branches of one that had half of its training 0.3 and more.
NEAR = 0.2
ROUNDING = 1e-4  # of divergences in nats, for members that are nearly equal


@dataclass(frozen=True)
class Origin:
    """Whether K networks went on from one.

    Attributes:
        likeness: see above; from -1 to 1. 0 if there are no weights with two axes.
        average_off: how far their plain average is from their ensemble (`knowledge.py`); None if it
            was not run, as the likeness is low.
        members_off: the mean of the same over the members; None as above.
    """

    likeness: float
    average_off: float | None = None
    members_off: float | None = None

    @property
    def shared(self) -> bool:
        """Whether the plain average is no farther from the ensemble than the members are."""
        if self.average_off is None or self.members_off is None:
            return False
        return self.average_off <= self.members_off + ROUNDING

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "likeness": self.likeness,
            "average_off": self.average_off,
            "members_off": self.members_off,
            "shared": self.shared,
        }


@torch.no_grad()
def likeness(models: Sequence[nn.Module]) -> float:
    """The least cosine of a network's weights with those of the first; see above."""
    first = _matrices(models[0])
    least, own = 1.0, _product(first, first)
    for k in range(1, len(models)):
        other = _matrices(models[k])
        if other.keys() != first.keys():
            return 0.0
        scale = math.sqrt(own * _product(other, other))
        least = min(least, _product(first, other) / scale if scale > 0 else 0.0)
    return least


@torch.no_grad()
def average_network(models: Sequence[nn.Module], data: Data) -> nn.Module:
    """The plain average of networks, with statistics of batch norms estimated anew.

    Args:
        models: the networks; one is read at a time.
        data: batches for the statistics; read only if there are batch norms.
    """
    mean = copied(models[0])
    targets = {name: tensor for name, tensor in _tensors(mean).items() if _averages(tensor)}
    sums = {name: tensor.double() for name, tensor in targets.items()}
    for k in range(1, len(models)):
        for name, tensor in _tensors(models[k]).items():
            if name in sums:
                sums[name] += tensor.to(sums[name].device, torch.float64)
    for name, target in targets.items():
        target.copy_(sums[name] / len(models))
    clear_eval_caches(mean)
    if norms_of(mean):
        reestimate(mean, data)
    return mean


def _matrices(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.dim() >= 2 and parameter.is_floating_point()
    }


def _product(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    total = 0.0
    for name, tensor in first.items():
        other = second[name].to(tensor.device)
        if other.shape != tensor.shape:
            return 0.0
        total += float((tensor.double() * other.double()).sum())
    return total


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict([*model.named_parameters(), *model.named_buffers()])


def _averages(tensor: Tensor) -> bool:
    return tensor.is_floating_point()
