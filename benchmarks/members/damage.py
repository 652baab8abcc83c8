"""Members that are bad on purpose, made from good ones without training.

flipped: the rows of the last layer in reverse order, which is a network trained on labels 9 - y.
noise: to every weight a normal draw of 0.4 times the deviation of its tensor is added.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

NOISE = 0.4


def damaged(state: Mapping[str, Tensor], kind: str, seed: int) -> dict[str, Tensor]:
    """A new state dict, damaged as this module says; the last two tensors are those of the head."""
    result = {name: value.clone() for name, value in state.items()}
    if kind == "flipped":
        for name in list(state)[-2:]:
            result[name] = state[name].flip(0)
        return result
    if kind == "noise":
        generator = torch.Generator().manual_seed(seed)
        for name, value in state.items():
            if value.is_floating_point() and value.dim() > 1:
                drawn = torch.randn(value.shape, generator=generator)
                result[name] = value + NOISE * value.std() * drawn
        return result
    raise ValueError(f"There is no damage '{kind}'; the kinds are flipped and noise.")
