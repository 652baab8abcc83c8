"""What a partial merge costs beside one member and all of them: parameters, and multiply-adds of
matrix products and convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from onefold.batches import Batch, forward


@dataclass(frozen=True)
class Cost:
    """parameters: numbers that are stored as parameters. multiply_adds: for one example."""

    parameters: int
    multiply_adds: float


@dataclass(frozen=True)
class Costs:
    """Of one member (the mean, where they differ), of the partial merge, and of the ensemble of all
    members.
    """

    one: Cost
    partial: Cost
    ensemble: Cost

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        def times(own: float, of: float) -> str:
            return f"{own / of:.2f}" if of else "-"

        return (
            f"Parameters {self.partial.parameters:,}:"
            f" {times(self.partial.parameters, self.one.parameters)} of one network, the ensemble"
            f" has {times(self.ensemble.parameters, self.one.parameters)}. Multiply-adds of an"
            f" example {self.partial.multiply_adds:,.0f}:"
            f" {times(self.partial.multiply_adds, self.one.multiply_adds)} of one network, the"
            f" ensemble takes {times(self.ensemble.multiply_adds, self.one.multiply_adds)}."
        )


def costs_of(models: Sequence[nn.Module], partial: nn.Module, batch: Batch) -> Costs:
    """Measured by running each once on `batch`. Raises DataError where one cannot run."""
    members = [cost_of(model, batch) for model in models]
    total = Cost(sum(own.parameters for own in members), sum(own.multiply_adds for own in members))
    one = Cost(round(total.parameters / len(models)), total.multiply_adds / len(models))
    return Costs(one, cost_of(partial, batch), total)


def cost_of(model: nn.Module, batch: Batch) -> Cost:
    """The cost of one network; it is run in evaluation mode and left as it was."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            forward(model, batch)
    finally:
        for module, flag in flags:
            module.training = flag
    return Cost(
        sum(p.numel() for p in model.parameters()), counter.get_total_flops() / 2 / batch.size
    )
