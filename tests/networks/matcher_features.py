"""Features of two members of different scales, and their moments in plain numpy."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onefold.alignment.moments import Moments

WIDTH, ROWS = 5, 200


def features(scale: float = 30.0, seed: int = 0, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Two members' features: the second a noisy mixture of the first, permuted, `scale` times as
    large.
    """
    generator = torch.Generator().manual_seed(seed)
    first = (
        torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64)
        @ torch.randn(WIDTH, WIDTH, generator=generator).double()
    )
    second = (
        first[:, torch.randperm(WIDTH, generator=generator)]
        + noise * torch.randn(ROWS, WIDTH, generator=generator).double()
    )
    return first, scale * second + 4.0


def moments_of(*members: Tensor, reference: int | None = 0) -> Moments:
    found = Moments(len(members), members[0].shape[1], reference)
    found.update(members)
    return found


def covariance(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    x, y = (m.numpy() - m.numpy().mean(0) for m in (a, b))
    return x.T @ y / len(x)
