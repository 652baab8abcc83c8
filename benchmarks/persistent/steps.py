"""Seconds of a training step with one and with three recorded solutions beside a plain step of the
same network, interleaved.

    python benchmarks/persistent/steps.py --out benchmarks/results/persistent/steps.json

Every round takes one step of every kind, in turn; ratios are taken within a round, and medians over
the rounds. "plain, again" is a second plain network: the noise. "gradient" adds the closed-form
gradient after the backward pass, "penalty" adds the penalty to the loss.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from networks import LeNet5

import onefold
from onefold.sources.networks import resnet20

CASES: dict[str, dict[str, Any]] = {
    "LeNet-5, batch 128": {"build": LeNet5, "shape": (1, 28, 28), "rounds": 200},
    "ResNet-20, batch 128": {"build": resnet20, "shape": (3, 32, 32), "rounds": 12},
}
KINDS: dict[str, tuple[int, str]] = {
    "plain": (0, "none"),
    "plain, again": (0, "none"),
    "1 solution, gradient": (1, "gradient"),
    "1 solution, penalty": (1, "penalty"),
    "3 solutions, gradient": (3, "gradient"),
    "3 solutions, penalty": (3, "penalty"),
}


def step_of(case: dict[str, Any], solutions: int, how: str, device: str) -> Callable[[], None]:
    """A function that takes one step, repelled from so many solutions."""
    torch.manual_seed(0)
    model = case["build"]().to(device)
    run = onefold.PersistentTraining(model, 10**9)
    for _ in range(solutions):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        run.record(0.0)
        run.restart()
    optimiser = torch.optim.SGD(
        model.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4, fused=True
    )
    x, y = (
        torch.randn(128, *case["shape"], device=device),
        torch.randint(0, 10, (128,), device=device),
    )

    def step() -> None:
        loss = F.cross_entropy(model(x), y)
        if how == "penalty":
            loss = loss + run.penalty()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if how == "gradient":
            run.add_gradient()
        optimiser.step()
        run.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {"device": arguments.device, "threads": 1}
    for name, case in CASES.items():
        steps = {kind: step_of(case, *how, arguments.device) for kind, how in KINDS.items()}
        seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for turn in range(case["rounds"] + 2):
            for kind, step in steps.items():
                start = time.perf_counter()
                step()
                if turn >= 2:  # the first ones warm up
                    seconds[kind].append(time.perf_counter() - start)
        own = {
            f"{kind}, ms": round(1e3 * statistics.median(values), 3)
            for kind, values in seconds.items()
        }
        own |= {
            f"{kind} / plain": round(
                statistics.median(a / b for a, b in zip(values, seconds["plain"], strict=True)), 3
            )
            for kind, values in seconds.items()
            if kind != "plain"
        }
        record[name] = {**own, "rounds": case["rounds"]}
        print(name, own, flush=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
