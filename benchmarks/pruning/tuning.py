"""What comes after narrowing, the same for every method: fine-tuning and distillation.

Fine-tuning is two passes with labels over at most 5,000 of the examples that the network was
trained on. Distillation needs no labels: it is three passes over the calibration data, towards the
outputs of the network that was narrowed. It is a loop of this benchmark, since `onefold.polish`
takes networks of other widths from this library alone. Both rates are chosen for each network by
the accuracy on the part "choices", of the units of largest norm at half of the multiply-adds:

    python benchmarks/pruning/tuning.py --out benchmarks/results/pruning/choice.json

No method of this library has a part in that choice.
"""

from __future__ import annotations

import argparse
import copy
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn

import onefold
from benchmarks.common.data import REPOSITORY
from benchmarks.default.record import keep, kept
from benchmarks.members.training import accuracy
from benchmarks.pruning.cases import CASES, Case, Data
from benchmarks.pruning.methods import Task, methods
from benchmarks.pruning.training import Examples, Settings, Training

CHOICE = REPOSITORY / "benchmarks" / "results" / "pruning" / "choice.json"
BASELINE, RECURRENT = "torch-pruning magnitude local", "largest units"
BUDGET = 0.5
RATES = {"sgd": (0.003, 0.01, 0.03), "adamw": (1e-4, 3e-4, 1e-3)}
DISTILLED = (1e-3, 3e-3)
BATCH = 100  # examples of a batch of calibration data
PASSES = 3  # of distillation


@dataclass(frozen=True)
class Bench:
    """A case and what is taken from its data, once."""

    case: Case
    data: Data
    network: nn.Module
    examples: Examples

    def task(self, budget: float, peers: Path | None = None) -> Task:
        """The task of a method."""
        calibration = self.data.calibration
        return Task(
            self.network,
            calibration.unlabelled(BATCH),
            list(calibration.labels.split(BATCH)),
            example_of(self.data),
            budget,
            peers,
        )


def example_of(data: Data) -> Tensor:
    """A calibration image, or the calibration sentence of middle length, as a batch of one."""
    middle = data.calibration.images[len(data.calibration) // 2]
    return (middle if middle.dim() == 3 else middle[middle != 0])[None]


def bench(case: Case) -> Bench:
    """The bench of a case."""
    data = case.data()
    return Bench(case, data, case.trained(), Examples(data.tuning()))


def start(network: nn.Module, task: Task) -> nn.Module:
    """A copy with its batch-norm statistics measured anew; without batch norm a copy."""
    twin = copy.deepcopy(network)
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in twin.modules()):
        onefold.recalibrate(twin, list(task.calibration))
    return twin.eval()


def fine_tuned(network: nn.Module, own: Bench, lr: float) -> nn.Module:
    """A copy after two passes with labels."""
    twin = copy.deepcopy(network)
    told = own.case.training or Settings(2, lr)
    Training(twin, own.examples, replace(told, passes=2, lr=lr, seed=0)).run()
    return twin.eval()


def distilled(network: nn.Module, own: Bench, task: Task, lr: float) -> nn.Module:
    """A copy after three passes without labels towards the network that was narrowed."""
    twin = copy.deepcopy(network)
    batch = 128 if own.case.training is None else own.case.training.batch
    settings = Settings(PASSES, lr, "adamw", decay=0.0, batch=batch)
    Training(twin, Examples(own.data.calibration), settings, teacher=own.network).run()
    return start(twin, task)


def choose(own: Bench) -> dict[str, Any]:
    """The accuracies of all rates on the part "choices", and the best of them."""
    task = own.task(BUDGET)
    recurrent = any(isinstance(m, nn.LSTM) for m in own.network.modules())
    narrow = start(methods()[RECURRENT if recurrent else BASELINE].run(task), task)
    kind = "sgd" if own.case.training is None else own.case.training.optimizer
    tuned = {lr: accuracy(fine_tuned(narrow, own, lr), own.data.choices) for lr in RATES[kind]}
    learned = {lr: accuracy(distilled(narrow, own, task, lr), own.data.choices) for lr in DISTILLED}
    return {
        "fine-tuning": max(tuned, key=lambda lr: tuned[lr]),
        "distillation": max(learned, key=lambda lr: learned[lr]),
        "before": accuracy(narrow, own.data.choices),
        "fine-tuning on choices": {f"{lr:g}": round(found, 2) for lr, found in tuned.items()},
        "distillation on choices": {f"{lr:g}": round(found, 2) for lr, found in learned.items()},
    }


def main() -> None:
    """Choose the rates of all networks that are trained."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--out", type=Path, default=CHOICE)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.networks:
        record = kept(arguments.out)
        if name in record or not CASES[name].file.exists():
            continue
        record[name] = choose(bench(CASES[name]))
        keep(record, arguments.out)
        print(f"{name}: {record[name]}", flush=True)


if __name__ == "__main__":
    main()
