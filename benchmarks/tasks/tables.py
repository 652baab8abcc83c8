"""A regressor on tables: Friedman's first function of ten columns, with noise.

    y = 10 sin(pi x_1 x_2) + 20 (x_3 - 1/2)^2 + 10 x_4 + 5 x_5 + noise

Columns are uniform between 0 and 1, the last five have no part in y, and the noise has deviation 1,
below which no RMSE can be. J. H. Friedman, "Multivariate adaptive regression splines", Annals of
Statistics 1991.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.tasks.examples import Examples, Parts, Sizes, joined
from benchmarks.tasks.registry import Benchmark, Training, benchmark

COLUMNS, NOISE = 10, 1.0
OTHERS = 0.02  # more of them, and a member knows the whole function


def friedman(x: Tensor) -> Tensor:
    """The function without noise: (n, 10) to (n, 1)."""
    y = 10 * (math.pi * x[:, 0] * x[:, 1]).sin() + 20 * (x[:, 2] - 0.5) ** 2
    return (y + 10 * x[:, 3] + 5 * x[:, 4]).unsqueeze(1)


def _drawn(count: int, seed: int, low: float = 0.0, high: float = 1.0) -> Examples:
    """Rows whose third column is between `low` and `high`."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, COLUMNS, generator=generator)
    x[:, 2] = low + (high - low) * x[:, 2]
    noise = NOISE * torch.randn(count, 1, generator=generator)
    return Examples({"rows": x}, friedman(x) + noise)


def _load(sizes: Sizes) -> Parts:
    rare = max(1, round(OTHERS * sizes.seen))
    most = sizes.seen - rare
    seen = {
        "all": _drawn(sizes.seen, 0),
        "first": joined(_drawn(most, 1, high=0.5), _drawn(rare, 2, low=0.5), 0),
        "second": joined(_drawn(most, 3, low=0.5), _drawn(rare, 4, high=0.5), 1),
    }
    return Parts(seen, _drawn(sizes.unlabelled, 5), _drawn(sizes.choices, 6), _drawn(sizes.test, 7))


def _build() -> nn.Module:
    return nn.Sequential(
        nn.Linear(COLUMNS, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )


@benchmark("tables")
def tables() -> Benchmark:
    """One number for each row."""
    return Benchmark(
        name="tables",
        task="regression",
        title="two hidden layers of 64 units, Friedman's first function with noise",
        shares="rows whose third column is below or above 1/2, and one in fifty of the others",
        build=_build,
        load=_load,
        loss=F.mse_loss,
        sizes=Sizes(2000, unlabelled=1000, choices=500, test=4000),
        training=Training(epochs=60, lr=5e-3),
    )
