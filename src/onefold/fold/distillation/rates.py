"""How the learning rate goes over the steps of a distillation.

With W = warmup x total steps, the rate rises linearly over the first W steps and falls to 0 over
the others, as a share s of these that are done:

    "linear":  1 - s        "cosine":  (1 + cos(pi s)) / 2

Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts" (arXiv 1608.03983)
for the cosine; Goyal et al. 2017 (arXiv 1706.02677) for the warm-up.
"""

from __future__ import annotations

import math

SCHEDULES = ("linear", "cosine")


def rate(step: int, total: int, schedule: str, warmup: float) -> float:
    """The share of the highest rate at a step.

    Args:
        step: from 0 to total - 1.
        total: number of steps.
        schedule: one of SCHEDULES.
        warmup: share of the steps over which the rate rises, from 0 on, below 1.
    """
    rising = round(warmup * total)
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / max(1, total - rising)
    return 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
