"""Do rounds of persistent training leave a local minimum? Landscapes of ten wells, and starts that all lie close together.

    f(x) = 0.06 |x|^2 - sum_i a_i exp(-|x - c_i|^2 / (2 * 0.6^2)),    c_i uniform in [-3, 3]^2,  a_i uniform in [0.3, 1.8]
    x_0 = c + 0.1 N(0, 1),    c uniform in [-2.5, 2.5]^2

    python benchmarks/persistent/landscapes.py --out benchmarks/persistent/landscapes.json

A start succeeds if one of four rounds of 500 steps ends within 0.05 of the global minimum. "fixed" is one draw of six landscapes with centres, and
seeds of the starts; "drawn" draws 60 landscapes for every seed. Kernel, strength and width are chosen on landscapes of their own.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import rounds, spread
from torch import Tensor

LANDSCAPES, STARTS, STEPS, CHOOSING = 60, 5, 500, 1000
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "gaussian": [{"kernel": "gaussian", "strength": s, "width": w} for s in (1.0, 3.0, 10.0) for w in (0.5, 1.0)],
    "inverse": [{"kernel": "inverse", "strength": s} for s in (0.3, 1.0, 3.0)],
    "hinge": [{"kernel": "hinge", "strength": s, "width": 1.5} for s in (1.0, 3.0, 10.0)],
    "cosine": [{"kernel": "cosine", "strength": s} for s in (1.0, 3.0, 10.0)],
}


class Landscapes:
    """Landscapes, and a centre of the starts in each."""

    def __init__(self, count: int, wells: torch.Generator, centres: torch.Generator, skip: int = 0) -> None:
        self.centre = (torch.rand(count, 10, 2, generator=wells) * 2 - 1) * 3
        self.depth = torch.rand(count, 10, generator=wells) * 1.5 + 0.3
        if skip:  # numbers that other quantities took when the fixed landscapes were drawn
            torch.rand(count, skip, 2, generator=centres)
        self.start = (torch.rand(count, 1, 2, generator=centres) * 2 - 1) * 2.5
        side = torch.linspace(-4, 4, 161)
        grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).view(1, -1, 2).expand(count, -1, -1)
        self.lowest = self(grid).min(1, keepdim=True)[0]

    def __call__(self, x: Tensor) -> Tensor:
        """Heights at points (landscapes, points, 2)."""
        squares = (x[:, :, None] - self.centre[:, None]).square().sum(-1)
        wells = (self.depth[:, None] * (-squares / (2 * 0.6**2)).exp()).sum(-1)
        return 0.06 * x.square().sum(-1) - wells


def successes(land: Landscapes, starts: int, seed: int, restarts: bool = False, **options: Any) -> float:
    """Percentage of starts of which one of four rounds ends at the global minimum."""
    count = len(land.start)

    def start(number: int) -> list[list[Tensor]]:
        generator = torch.Generator().manual_seed(10_000 * (seed + 1) + number)
        return [[(land.start + 0.1 * torch.randn(count, starts, 2, generator=generator)).flatten(0, 1)]]

    def height(tensors: list[list[Tensor]], _: int) -> Tensor:
        return land(tensors[0][0].view(count, starts, 2)).flatten()

    found = rounds(start, height, STEPS, lambda _: 0.05, clip=3.0, restarts=restarts, seed=seed, **options)
    return 100 * float((found.min(0)[0].view(count, starts) < land.lowest + 0.05).double().mean())


def drawn(seed: int) -> Landscapes:
    generator = torch.Generator().manual_seed(seed)
    return Landscapes(LANDSCAPES, generator, generator)


def fixed(_: int) -> Landscapes:
    return Landscapes(6, torch.Generator().manual_seed(3), torch.Generator().manual_seed(17), skip=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    chosen, tried = {}, {}
    own = drawn(CHOOSING)
    for name, candidates in CANDIDATES.items():
        tried[name] = [(successes(own, STARTS, CHOOSING, **options), options) for options in candidates]
        chosen[name] = max(tried[name], key=lambda pair: pair[0])[1]
        print(name, tried[name], flush=True)
    ways: dict[str, dict[str, Any]] = {"restarts": {"restarts": True}, **chosen}
    ways |= {f"{name}, uninformed control": {**options, "control": True} for name, options in chosen.items()}
    record: dict[str, Any] = {"settings": chosen, "tried": tried, "seeds": arguments.seeds}
    tasks: dict[str, tuple[Callable[[int], Landscapes], int]] = {"fixed": (fixed, 20), "drawn": (drawn, STARTS)}
    for task, (make, starts) in tasks.items():
        record[task] = {}
        for name, options in ways.items():
            values = [successes(make(seed), starts, seed, **options) for seed in arguments.seeds]
            record[task][name] = values
            print(task, name, spread(values), flush=True)
        for name in chosen:
            gains = [a - b for a, b in zip(record[task][name], record[task][f"{name}, uninformed control"], strict=True)]
            error = statistics.stdev(gains) / len(gains) ** 0.5
            print(task, name, f"above its control: {spread(gains)}, standard error {error:.1f}", flush=True)
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
