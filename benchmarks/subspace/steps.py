r"""Seconds of a training step in a subspace beside a plain one of the same network, interleaved.

The official code is timed beside both if it is given.

    python benchmarks/subspace/steps.py --out benchmarks/results/subspace/steps.json \
        [--peer learning-subspaces/]

Every round takes one step of every kind, in turn; ratios are taken within a round, and medians over
the rounds. Both codes use their own usual optimiser: SGD with momentum and weight decay, ours
fused. Peak memory is that of a process of its own, above the one that only builds the network.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from networks import ResNet18
from peer import Peer
from torch import nn

import onefold
from onefold.sources.networks import resnet20

CASES: dict[str, dict[str, Any]] = {
    "ResNet-20, batch 128": {
        "build": lambda: resnet20(),
        "batch": 128,
        "size": 32,
        "classes": 10,
        "rounds": 25,
        "peer": "CIFARResNet",
    },
    "ResNet-18, batch 2, 64x64": {
        "build": lambda: ResNet18(),
        "batch": 2,
        "size": 64,
        "classes": 200,
        "rounds": 25,
        "peer": "TinyImageNetResNet18",
    },
    "ResNet-18, batch 2, 32x32": {
        "build": lambda: ResNet18(),
        "batch": 2,
        "size": 32,
        "classes": 200,
        "rounds": 25,
        "peer": "TinyImageNetResNet18",
    },
}
KINDS = ("plain", "line", "curve", "simplex")


def step_of(case: str, kind: str, peer: Path | None, device: str) -> Callable[[], None]:
    """A function that takes one training step. kind: one of KINDS, "official ..." of the peer."""
    setting = CASES[case]
    torch.manual_seed(0)
    x = torch.randn(setting["batch"], 3, setting["size"], setting["size"], device=device)
    y = torch.randint(0, setting["classes"], (setting["batch"],), device=device)
    loss_of: Callable[[], torch.Tensor]
    if kind.startswith("official"):
        assert peer is not None
        own = Peer(peer, kind.split()[1], setting["peer"], setting["classes"])
        model: nn.Module = own.model.to(device)
        loss_of = lambda: own.loss(x, y)  # noqa: E731
    elif kind == "plain":
        model = setting["build"]().to(device)
        loss_of = lambda: F.cross_entropy(model(x), y)  # noqa: E731
    else:
        space = onefold.Subspace(setting["build"](), kind).to(device)
        model = space
        loss_of = lambda: F.cross_entropy(space(x), y) + space.diversity_penalty()  # noqa: E731
    fused = not kind.startswith("official")
    optimiser = torch.optim.SGD(
        model.train().parameters(), 1e-3, momentum=0.9, weight_decay=1e-4, fused=fused
    )

    def step() -> None:
        loss = loss_of()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def times(case: str, kinds: list[str], peer: Path | None, device: str) -> dict[str, Any]:
    """Median seconds of a step, and median ratio to the plain step of the same round."""
    steps = {kind: step_of(case, kind, peer, device) for kind in kinds}
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for round_ in range(CASES[case]["rounds"] + 2):
        for kind, step in steps.items():
            start = time.perf_counter()
            step()
            if round_ >= 2:
                taken[kind].append(time.perf_counter() - start)
    found: dict[str, Any] = {
        f"{kind}, s": round(statistics.median(values), 4) for kind, values in taken.items()
    }
    for kind in kinds:
        base = taken[
            (
                "official plain"
                if kind.startswith("official") and "official plain" in kinds
                else "plain"
            )
        ]
        if not kind.endswith("plain"):
            found[f"{kind} / plain"] = round(
                statistics.median(a / b for a, b in zip(taken[kind], base, strict=True)), 3
            )
    return found


def peak(case: str, kind: str, peer: Path | None) -> float:
    """Peak memory in MiB of a process that takes three steps, above that of one that takes none."""
    command = [
        sys.executable,
        __file__,
        "--case",
        case,
        "--kind",
        kind,
        *(["--peer", str(peer)] if peer else []),
    ]
    used = [
        float(
            subprocess.run(
                [*command, "--steps", n], capture_output=True, text=True, check=True
            ).stdout
        )
        for n in ("-1", "3")
    ]
    return used[1] - used[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peer", type=Path, help="a copy of github.com/apple/learning-subspaces")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--case", choices=CASES, help="only this one")
    parser.add_argument("--kind", help="print the peak memory in MiB of this kind alone")
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.kind:
        if arguments.steps >= 0:
            step = step_of(arguments.case, arguments.kind, arguments.peer, "cpu")
            for _ in range(arguments.steps):
                step()
        high = next(
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        print(int(high.split()[1]) / 1024)
        return
    record: dict[str, Any] = {"device": arguments.device, "threads": arguments.threads}
    for case in [arguments.case] if arguments.case else CASES:
        kinds = list(KINDS) + (
            ["official plain", "official line", "official simplex"] if arguments.peer else []
        )
        record[case] = times(case, kinds, arguments.peer, arguments.device)
        if arguments.device == "cpu":
            memory = {kind: peak(case, kind, arguments.peer) for kind in kinds}
            record[case] |= {f"{kind}, peak MiB": round(m) for kind, m in memory.items()}
            record[case] |= {
                f"{kind} / plain, peak": round(m / memory["plain"], 2)
                for kind, m in memory.items()
                if not kind.endswith("plain")
            }
        print(case, json.dumps(record[case], indent=1), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
