"""What the registry of tasks costs classifiers: evaluate, evaluate_all and fit_gates before and
after, in seconds and as ratios.

    python benchmarks/tasks/cost.py BEFORE --out benchmarks/results/tasks/cost.json

BEFORE is a checkout of a commit from before the registry. Each of the two versions runs in a
process of its own, on one thread. The processes take turns, and which of them begins alternates.
The bare network is faster in one process than in another by up to a fifth, so there are several
pairs of processes. Seconds are those that a core spends, so that what else runs on the machine
counts little. A ratio is that of the medians of all runs.

mlp: two networks 64-128-64-10 on 20,000 examples of 64 numbers; gates of layers, 300 steps.
resnet20: two ResNet-20 on 2,000 made images (3, 16, 16); gates of whole networks, 300 steps. All
networks are trained for a moment, so that none is turned away.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

HERE = Path(__file__).resolve().parents[2]
AIM = 1.05
CLASSES = 10
PARTS = {
    "mlp": ("evaluate", "evaluate_all", "fit_gates"),
    "resnet20": ("evaluate", "evaluate_all", "fit_gates"),
}


def made(network: str) -> tuple[list[Any], list[tuple[Any, Any]]]:
    """Two trained networks and labelled batches of 250 examples."""
    import torch
    from torch import nn

    from onefold.sources.networks import resnet20

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shape, count = ((64,), 20_000) if network == "mlp" else ((3, 16, 16), 2_000)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    patterns = torch.randn(CLASSES, *shape, generator=generator)
    inputs = 0.3 * patterns[labels] + torch.randn(count, *shape, generator=generator)
    data = list(zip(inputs.split(250), labels.split(250), strict=True))
    models: list[Any] = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = (
            nn.Sequential(
                nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, CLASSES)
            )
            if network == "mlp"
            else resnet20()
        )
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for x, y in data[:8]:
            for part, own in zip(x.split(50), y.split(50), strict=True):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(part), own).backward()
                optimiser.step()
        models.append(model.eval())
    return models, data


def work() -> None:
    """Do what each line of standard input asks for; answer with its seconds."""
    import onefold
    from onefold.measure import evaluate_all

    for network in PARTS:
        models, data = made(network)
        level = "layer" if network == "mlp" else "model"

        def gates(models: list[Any] = models, data: Any = data, level: Any = level) -> Any:
            return onefold.fit_gates(onefold.SoftMerge(models, level=level), data)

        jobs: dict[str, Callable[[], Any]] = {
            "evaluate": lambda models=models, data=data: onefold.evaluate(models[0], data),
            "evaluate_all": lambda models=models, data=data: evaluate_all(models, data),
            "fit_gates": gates,
        }
        for part in PARTS[network]:
            jobs[part]()  # warms it up
            print("ready", flush=True)
            while (asked := sys.stdin.readline().strip()) == "again":
                start = process_time()
                jobs[part]()
                print(process_time() - start, flush=True)
            assert asked == "next", asked


class Worker:
    """One version in a process of its own."""

    def __init__(self, checkout: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> str:
        """The next line that it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit("A worker has ended; its error is above.")
        return line

    def say(self, word: str) -> None:
        """Ask for something."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def timed(self) -> float:
        """The seconds of one more run."""
        self.say("again")
        return float(self.answer())

    def ended(self) -> None:
        """Wait until the process has ended."""
        self._process.wait()


def commit_of(checkout: Path) -> str:
    """The short name of the commit that is checked out."""
    return subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def measured(before: Path, pairs: int, repeats: int) -> dict[str, Any]:
    """Medians of all parts over all pairs of processes, and their ratios."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for pair in range(pairs):
        workers = {"before": Worker(before), "after": Worker(HERE)}
        for network, parts in PARTS.items():
            for part in parts:
                for worker in workers.values():
                    worker.answer()
                own = seconds.setdefault(f"{network} {part}", {name: [] for name in workers})
                for number in range(repeats):
                    for name in sorted(workers, reverse=(pair + number) % 2 == 0):
                        own[name].append(workers[name].timed())
                print(f"pair {pair}: {network} {part}", file=sys.stderr, flush=True)
                for worker in workers.values():
                    worker.say("next")
        for worker in workers.values():
            worker.ended()
    return {name: summary(own) for name, own in seconds.items()}


def summary(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """The medians of both versions, their ratio, and that of rounds."""
    medians = {name: statistics.median(own) for name, own in seconds.items()}
    rounds = [a / b for a, b in zip(seconds["after"], seconds["before"], strict=True)]
    return {
        **medians,
        "ratio": medians["after"] / medians["before"],
        "median_of_ratios": statistics.median(rounds),
        "seconds": seconds,
    }


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("before", nargs="?", type=Path, help="a checkout from before the registry")
    parser.add_argument("--pairs", type=int, default=3, help="of processes, one of each version")
    parser.add_argument("--repeats", type=int, default=3, help="of each part in each process")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work()
        return
    if asked.before is None:
        parser.error("give a checkout from before the registry of tasks")
    found = {
        "before": commit_of(asked.before),
        "after": commit_of(HERE),
        "pairs": asked.pairs,
        "repeats": asked.repeats,
        "clock": "seconds of one core",
        "aim": AIM,
        "parts": measured(asked.before, asked.pairs, asked.repeats),
    }
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
