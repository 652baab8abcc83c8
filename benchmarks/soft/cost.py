"""A step of gate training at layer level beside a plain training step of one network, and beside K
forward passes.

Interleaved, medians.

    python benchmarks/soft/cost.py --out benchmarks/results/soft/cost.json
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import NETWORKS
from torch import nn

import onefold

SHAPES = {"smallcnn": (1, 28, 28), "resnet20-brief": (3, 32, 32)}


def seconds(step: Callable[[], None]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def plain_step(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """One step of SGD with momentum on all weights of one network."""
    model = copy.deepcopy(model).train()
    optimiser = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)

    def step() -> None:
        loss = F.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def gate_step(
    members: list[nn.Module], level: str, x: torch.Tensor, y: torch.Tensor
) -> Callable[[], None]:
    """One step of Adam on the gates. At module level every layer is run once for each member."""
    include = (
        [
            n
            for n, m in members[0].named_modules()
            if n and next(m.parameters(recurse=False), None) is not None
        ]
        if level == "module"
        else None
    )
    soft = onefold.SoftMerge(
        members, level, include=include, align="none", reference=0, screen=False
    ).train()
    optimiser = torch.optim.Adam(soft.parameters(), 0.01)

    def step() -> None:
        loss = F.cross_entropy(soft(x), y) + 0.01 * soft.penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def measure(network: str, count: int, rounds: int, batch: int) -> dict[str, Any]:
    """Medians of interleaved steps, and of the ratios within a round."""
    members = []
    for seed in range(count):
        torch.manual_seed(seed)
        members.append(NETWORKS[network]().eval())
    x, y = torch.randn(batch, *SHAPES[network]), torch.randint(0, 10, (batch,))

    def forwards() -> None:
        with torch.no_grad():
            for member in members:
                member(x)

    steps = {
        "plain step": plain_step(members[0], x, y),
        "layer gates": gate_step(members, "layer", x, y),
        "K forward passes": forwards,
    }
    if count <= 5:
        steps["K passes with gates"] = gate_step(members, "module", x, y)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step))
    ratios = {
        f"{name} / plain step": [
            a / b for a, b in zip(times[name], times["plain step"], strict=True)
        ]
        for name in steps
        if name != "plain step"
    }
    return {
        name: round(statistics.median(values), 4) for name, values in {**times, **ratios}.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--networks", nargs="+", default=sorted(NETWORKS))
    parser.add_argument("--members", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {"batch": arguments.batch, "threads": 1, "torch": torch.__version__}
    for network in arguments.networks:
        for count in arguments.members:
            record[f"{network}, K = {count}"] = row = measure(
                network, count, arguments.rounds, arguments.batch
            ) | {"rounds": arguments.rounds}
            print(network, count, row, flush=True)
            arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
