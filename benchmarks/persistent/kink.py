"""A line with a kink, learned by a small ReLU network from a poor initialisation: most starts miss the kink.

    y = x / 2 for x < 0.5, then 0.25 - 5 (x - 0.5) to x = 0.8, then -1.25 + 5 (x - 0.8);    1-4-4-1 units, He initialisation times 0.3

    python benchmarks/persistent/kink.py --out benchmarks/persistent/kink.json

A network succeeds if one of four rounds of 800 steps ends with a squared error below 0.003. Strength and width are chosen on networks of their own.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

import torch
from common import rounds, spread
from torch import Tensor

NETWORKS, WIDTH, STEPS, CHOOSING, GAIN, BATCH = 40, 4, 800, 1000, 0.3, 30
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "gaussian": [{"kernel": "gaussian", "strength": s} for s in (0.1, 0.3, 1.0, 3.0, 10.0)],
    "inverse": [{"kernel": "inverse", "strength": s} for s in (0.03, 0.1, 0.3)],
    "hinge": [{"kernel": "hinge", "strength": s, "width": 1.5} for s in (0.1, 0.3, 1.0)],
    "cosine": [{"kernel": "cosine", "strength": s} for s in (0.1, 0.3, 1.0)],
}


def kink() -> tuple[Tensor, Tensor]:
    x = torch.cat([torch.linspace(-1, 0.5, 70), torch.linspace(0.5, 0.8, 10), torch.linspace(0.8, 1, 10)])
    y = torch.where(x < 0.5, x * 0.5, torch.where(x < 0.8, 0.25 - 5 * (x - 0.5), -1.25 + 5 * (x - 0.8)))
    return x, y


def initial(seed: int, number: int) -> list[list[Tensor]]:
    """He initialisation times the gain, (networks, ...), layer by layer."""
    generator = torch.Generator().manual_seed(10_000 * (seed + 1) + number)

    def normal(*shape: int, fan: int) -> Tensor:
        return torch.randn(NETWORKS, *shape, generator=generator) * math.sqrt(2 / fan) * GAIN

    return [
        [normal(WIDTH, 1, fan=1), torch.randn(NETWORKS, WIDTH, 1, generator=generator) * 0.5 * GAIN],
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
            index = torch.randperm(len(x), generator=torch.Generator().manual_seed(100_000 * (seed + 1) + step))[:BATCH]
            inputs, targets = x[index], y[index]
        value = inputs.view(1, 1, -1)
        for k, (weight, bias) in enumerate(layers):
            value = weight @ value + bias
            value = value.relu() if k < len(layers) - 1 else value
        return (value[:, 0] - targets).square().mean(1)

    found = rounds(
        lambda number: initial(seed, number), error, STEPS, lambda step: 0.03 if step < 0.7 * STEPS else 0.003, clip=1.0, momentum=0.9,
        restarts=restarts, seed=seed, **options,
    )  # fmt: skip
    return 100 * float((found.min(0)[0] < 0.003).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen, tried = {}, {}
    for name, candidates in CANDIDATES.items():
        tried[name] = [(successes(CHOOSING, **options), options) for options in candidates]
        chosen[name] = max(tried[name], key=lambda pair: pair[0])[1]
        print(name, tried[name], flush=True)
    ways: dict[str, dict[str, Any]] = {
        "restarts": {"restarts": True, "same_order": False},
        "reruns": {"strength": 0.0, "same_order": False},
        **chosen,
    }
    ways |= {f"{name}, uninformed control": {**options, "control": True} for name, options in chosen.items()}
    record: dict[str, Any] = {"settings": chosen, "tried": tried, "seeds": arguments.seeds, "kink": {}}
    for name, options in ways.items():
        record["kink"][name] = [successes(seed, **options) for seed in arguments.seeds]
        print(name, spread(record["kink"][name]), flush=True)
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    for name in chosen:
        gains = [a - b for a, b in zip(record["kink"][name], record["kink"][f"{name}, uninformed control"], strict=True)]
        print(name, f"above its control: {spread(gains)}, standard error {statistics.stdev(gains) / len(gains) ** 0.5:.1f}", flush=True)


if __name__ == "__main__":
    main()
