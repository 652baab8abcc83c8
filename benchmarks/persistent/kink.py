"""A line with a kink, learned by a small ReLU network from a poor initialisation: most starts miss
the kink.

    y = x / 2 for x < 0.5, then 0.25 - 5 (x - 0.5) to x = 0.8, then -1.25 + 5 (x - 0.8)

The network has 1-4-4-1 units and He initialisation times 0.3.

    python benchmarks/persistent/kink.py --out benchmarks/results/persistent/kink.json

A network succeeds if one of four rounds of 800 steps ends with a squared error below 0.003. The
strengths are chosen on networks of their own, the controls' too.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from common import arguments_of, compare, rounds, with_strengths
from torch import Tensor

NETWORKS, WIDTH, STEPS, GAIN, BATCH = 25, 4, 800, 0.3, 30
CHOOSING = (1000, 1001, 1002)  # seeds; one does not tell 20 from 40 %
WAYS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "gaussian, mirror": {"mirror": True},
    "inverse": {"kernel": "inverse"},
    "hinge": {"kernel": "hinge", "width": 1.5},
    "cosine": {"kernel": "cosine"},
}
CANDIDATES = with_strengths(WAYS, (0.3, 1.0, 3.0), controls=list(WAYS)[:3])


def kink() -> tuple[Tensor, Tensor]:
    x = torch.cat(
        [torch.linspace(-1, 0.5, 70), torch.linspace(0.5, 0.8, 10), torch.linspace(0.8, 1, 10)]
    )
    y = torch.where(
        x < 0.5, x * 0.5, torch.where(x < 0.8, 0.25 - 5 * (x - 0.5), -1.25 + 5 * (x - 0.8))
    )
    return x, y


def initial(seed: int, number: int) -> list[list[Tensor]]:
    """He initialisation times the gain, (networks, ...), layer by layer."""
    generator = torch.Generator().manual_seed(10_000 * (seed + 1) + number)

    def normal(*shape: int, fan: int) -> Tensor:
        return torch.randn(NETWORKS, *shape, generator=generator) * math.sqrt(2 / fan) * GAIN

    return [
        [
            normal(WIDTH, 1, fan=1),
            torch.randn(NETWORKS, WIDTH, 1, generator=generator) * 0.5 * GAIN,
        ],
        [normal(WIDTH, WIDTH, fan=WIDTH), torch.zeros(NETWORKS, WIDTH, 1)],
        [normal(1, WIDTH, fan=WIDTH), torch.zeros(NETWORKS, 1, 1)],
    ]


def successes(seed: int, restarts: bool = False, **options: Any) -> float:
    """Percentage of networks of which one of four rounds finds the kink."""
    x, y = kink()

    def error(layers: list[list[Tensor]], step: int) -> Tensor:
        if step < 0:
            inputs, targets = x, y
        else:
            index = torch.randperm(
                len(x), generator=torch.Generator().manual_seed(100_000 * (seed + 1) + step)
            )[:BATCH]
            inputs, targets = x[index], y[index]
        value = inputs.view(1, 1, -1)
        for k, (weight, bias) in enumerate(layers):
            value = weight @ value + bias
            value = value.relu() if k < len(layers) - 1 else value
        return (value[:, 0] - targets).square().mean(1)

    found = rounds(
        lambda number: initial(seed, number),
        error,
        STEPS,
        lambda step: 0.03 if step < 0.7 * STEPS else 0.003,
        clip=1.0,
        momentum=0.9,
        restarts=restarts,
        seed=seed,
        **options,
    )
    return 100 * float((found.min(0)[0] < 0.003).double().mean())


def main() -> None:
    arguments = arguments_of(__doc__)
    torch.set_num_threads(1)
    baselines = {
        "restarts": {"restarts": True, "same_order": False},
        "reruns": {"strength": 0.0, "same_order": False},
    }
    tasks = {"kink": lambda seed, options: successes(seed, **options)}

    def choose(options: dict[str, Any]) -> float:
        return sum(successes(seed, **options) for seed in CHOOSING) / len(CHOOSING)

    compare(CANDIDATES, choose, baselines, tasks, arguments.seeds, arguments.out)


if __name__ == "__main__":
    main()
