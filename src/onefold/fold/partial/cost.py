"""The cost of a partial merge beside one member and all of them.

It counts parameters, and multiply-adds of matrix products and convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from onefold.batches import Batch
from onefold.forward import forward


@dataclass(frozen=True)
class Cost:
    """The cost of one network.

    Attributes:
        parameters: numbers that are stored as parameters.
        multiply_adds: of one example.
    """

    parameters: int
    multiply_adds: float


@dataclass(frozen=True)
class Costs:
    """The costs that are compared.

    Attributes:
        one: of one member; the mean, if they differ.
        partial: of the partial merge.
        ensemble: of all members.
    """

    one: Cost
    partial: Cost
    ensemble: Cost

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        def times(amount: float, of: float) -> str:
            return f"{amount / of:.2f}" if of else "-"

        one, partial, ensemble = self.one, self.partial, self.ensemble
        return (
            f"Parameters {partial.parameters:,}:"
            f" {times(partial.parameters, one.parameters)} of one network, the ensemble"
            f" has {times(ensemble.parameters, one.parameters)}. Multiply-adds of an"
            f" example {partial.multiply_adds:,.0f}:"
            f" {times(partial.multiply_adds, one.multiply_adds)} of one network, the"
            f" ensemble takes {times(ensemble.multiply_adds, one.multiply_adds)}."
        )


def costs_of(models: Sequence[nn.Module], partial: nn.Module, batch: Batch) -> Costs:
    """The costs, measured by running each network once on `batch`.

    Raises:
        DataError: a network cannot run on it.
    """
    members = [cost_of(model, batch) for model in models]
    total = Cost(sum(m.parameters for m in members), sum(m.multiply_adds for m in members))
    one = Cost(round(total.parameters / len(models)), total.multiply_adds / len(models))
    return Costs(one, cost_of(partial, batch), total)


def cost_of(model: nn.Module, batch: Batch) -> Cost:
    """The cost of one network. It runs in evaluation mode and is left as it was."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            forward(model, batch)
    finally:
        for module, flag in flags:
            module.training = flag
    multiply_adds = counter.get_total_flops() / 2 / batch.size
    return Cost(sum(p.numel() for p in model.parameters()), multiply_adds)
