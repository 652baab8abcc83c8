"""The temperature of logits at which their mean loss is least.

The loss is convex in 1 / T for cross-entropies (Guo et al. 2017, arXiv 1706.04599).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.optimize import minimize_scalar
from torch import Tensor

LEAST, MOST = math.log(1e-4), math.log(1e4)  # of the logarithm of 1 / T, for logits of size 1


def best_scale(logits: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits / T in float64, with T > 0 of the least loss.

    Args:
        logits: of any shape, finite.
        loss: the mean loss (scalar) of scaled logits.
    """
    unit = logits.double() / logits.double().square().mean().sqrt().clamp_min(1e-300)

    def at(log_scale: float) -> float:
        return float(loss(unit * math.exp(log_scale)))

    found = minimize_scalar(at, bounds=(LEAST, MOST), method="bounded")
    return unit * math.exp(found.x if float(found.fun) < at(LEAST) else LEAST)


__all__ = ["best_scale"]
