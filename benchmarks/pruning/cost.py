"""What a network costs: multiply-adds of one example and parameters, by one counter for all.

torch's `FlopCounterMode` counts two operations for a multiply-add. It does not know the operators
that an LSTM and attention are on a CPU. Without oneDNN, and with attention by its equation, both
are matrix products, which it counts.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def multiply_adds(model: nn.Module, example: Tensor) -> int:
    """Multiply-adds of one run on `example`, a batch of one."""
    training = model.training
    model.eval()
    counter = FlopCounterMode(display=False)
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore")  # oneDNN's own flags say that there is no Intel GPU
        with torch.backends.mkldnn.flags(enabled=False), counter:
            model(example)
    model.train(training)
    return int(counter.get_total_flops()) // 2


def parameters(model: nn.Module) -> int:
    """Numbers in all parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
