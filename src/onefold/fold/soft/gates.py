"""Hard-concrete gates: trainable numbers in 0..1 that are exactly 0 or 1 with positive probability.

    u ~ U(eps, 1 - eps),   s = sigmoid((log u - log(1 - u) + log_alpha) / beta),
    z = clamp(s (zeta - gamma) + gamma, 0, 1)
    without noise:  z = clamp(sigmoid(log_alpha) (zeta - gamma) + gamma, 0, 1)
    penalty:        P(z != 0) = sigmoid(log_alpha - beta log(-gamma / zeta)),
                    averaged over all gates
    normalised:     g_k = z_k / sum_j z_j;  a row without any z left becomes one-hot at its
                    largest log_alpha

with beta = 2/3, gamma = -0.1, zeta = 1.1. A gate without noise is exactly 0 below log_alpha =
-2.398 and exactly 1 above 2.398.

Louizos, Welling & Kingma 2018, "Learning Sparse Neural Networks through L0 Regularization" (arXiv
1712.01312). The normalisation and its guard are ours: a softmax never reaches 0, and a share of
1e-14 of a weight of 1e23 still rules the sum.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
EPS = 1e-6  # the least distance of the noise from 0 and 1
LEAST = 1e-3  # a row whose gates sum to less counts as all zero
SPREAD = 0.01  # standard deviation of the initial log_alpha


def sample(log_alpha: Tensor, noise: Tensor) -> Tensor:
    """Gates (...) with uniform noise (...) in 0..1."""
    u = noise * (1 - 2 * EPS) + EPS
    return _stretched(torch.sigmoid((u.log() - (1 - u).log() + log_alpha) / BETA))


def deterministic(log_alpha: Tensor) -> Tensor:
    """Gates (...) without noise."""
    return _stretched(torch.sigmoid(log_alpha))


def probability_open(log_alpha: Tensor) -> Tensor:
    """The probability (...) that a gate with noise is not 0."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


def normalize(z: Tensor, log_alpha: Tensor, alive: Tensor, *, divide: bool = True) -> Tensor:
    """Rows of gates (rows, members), divided by their sum if `divide`.

    Gates that are not `alive` are 0. A row of zeros becomes one-hot at its largest log_alpha.
    """
    z = torch.where(alive, z, torch.zeros_like(z))
    total = z.sum(-1, keepdim=True)
    one_hot = torch.nn.functional.one_hot(
        log_alpha.detach().masked_fill(~alive, -torch.inf).argmax(-1), z.shape[-1]
    ).to(z.dtype)
    shut = total < LEAST
    z = torch.where(shut, one_hot, z)
    return z / torch.where(shut, torch.ones_like(total), total) if divide else z


class _BoundedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        finite = torch.where(gradient.isfinite(), gradient, torch.zeros_like(gradient))
        return finite / finite.abs().amax().clamp_min(1.0)


def with_bounded_gradient(value: Tensor) -> Tensor:
    """The same values (...), whose gradient is bounded.

    The gradient is divided by max(1, max |g|), and 0 where it is not finite. One member with
    extreme values gives gradients of extreme size. An L2 norm of them overflows; the elementwise
    maximum does not.
    """
    bounded: Tensor = _BoundedGradient.apply(value)  # type: ignore[no-untyped-call]
    return bounded


class Gates(nn.Module):
    """A table (rows, members) of gates, whose only parameter is `log_alpha`.

    The state dict holds the generator of the noise too, so that a resumed run goes on with the same
    draws.

    Args:
        rows: the number of gated parts.
        members: the number of members.
        normalized: whether every row is divided by its sum.
        seed: of the initial values and of the noise.

    Attributes:
        log_alpha: (rows, members).
        alive: (rows, members), the gates that may be open at all.
    """

    alive: Tensor

    def __init__(self, rows: int, members: int, *, normalized: bool = True, seed: int = 0) -> None:
        super().__init__()
        self.normalized = normalized
        self.generator = torch.Generator().manual_seed(seed)
        self.log_alpha = nn.Parameter(
            SPREAD * torch.randn(rows, members, generator=self.generator, dtype=torch.float32)
        )
        self.register_buffer("alive", torch.ones(rows, members, dtype=torch.bool))

    def forward(self, stochastic: bool = False) -> Tensor:
        """The gates (rows, members) in float32; with noise if `stochastic`."""
        log_alpha = with_bounded_gradient(self.log_alpha)
        if stochastic:
            noise = torch.rand(log_alpha.shape, generator=self.generator, dtype=torch.float32).to(
                log_alpha.device
            )
            z = sample(log_alpha, noise)
        else:
            z = deterministic(log_alpha)
        return normalize(z, log_alpha, self.alive, divide=self.normalized)

    def penalty(self) -> Tensor:
        """The mean probability (scalar) that a gate which may be open is not 0."""
        chances = torch.where(
            self.alive, probability_open(self.log_alpha), torch.zeros_like(self.log_alpha)
        )
        return chances.sum() / self.alive.sum().clamp_min(1)

    def get_extra_state(self) -> Tensor:
        """The state of the noise's generator."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the state of the noise's generator."""
        self.generator.set_state(state.cpu())

    def extra_repr(self) -> str:
        """The arguments, as torch prints them."""
        return (
            f"rows={self.log_alpha.shape[0]}, members={self.log_alpha.shape[1]},"
            f" normalized={self.normalized}"
        )


def _stretched(s: Tensor) -> Tensor:
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)
