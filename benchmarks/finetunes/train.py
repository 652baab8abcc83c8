"""Fine-tune one encoder of 22 million parameters on five tasks, and on one of them again.

    python -m benchmarks.finetunes.train

The learning rate is chosen once, on held-out training sentences of TREC, and holds for all.
Two trainings run side by side, each on one thread. Fine-tunes are kept in the folder that
ONEFOLD_FINETUNES names (default: ~/.cache/onefold/finetunes), and their logs in
benchmarks/results/finetunes. What is finished is not trained again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.data import REPOSITORY
from benchmarks.finetunes.texts import TASKS
from benchmarks.finetunes.training import Finetune, Settings, base_folder, finetuned, trained

RESULTS = REPOSITORY / "benchmarks" / "results" / "finetunes"
RATES = (3e-5, 1e-4, 3e-4)  # the grid of learning rates
CHOSEN_ON = ("trec",)  # a task of short sentences and many classes
AGAIN = "mpqa"  # the task that is trained from more seeds
SEEDS = (1, 2)
CHOICE_SEED = 100


def everything(settings: Settings) -> list[Finetune]:
    """All fine-tunes, the longest first."""
    first = [Finetune(task, 0, settings) for task in ("subj", "sst2", "mpqa", "trec", "cr")]
    return first + [Finetune(AGAIN, seed, settings) for seed in SEEDS]


def chosen(settings: Settings, out: Path) -> Settings:
    """The settings with the learning rate that is best on held-out sentences."""
    path = out / "choice.json"
    if not path.exists():
        runs = [
            Finetune(task, CHOICE_SEED, replace(settings, lr=rate))
            for task in CHOSEN_ON
            for rate in RATES
        ]
        found = sorted(side_by_side(_log_of, runs), key=lambda log: log["settings"]["lr"])
        keep({"runs": found}, path)
    logs = json.loads(path.read_text())["runs"]
    means = {
        rate: sum(_last(log) for log in logs if log["settings"]["lr"] == rate) for rate in RATES
    }
    return replace(settings, lr=max(RATES, key=lambda rate: means[rate]))


def _last(run: dict[str, Any]) -> float:
    return float(run["curve"][-1]["held-out accuracy"])


def _log_of(own: Finetune) -> dict[str, Any]:
    return trained(own, base_folder())[2]


def side_by_side(
    function: Callable[[Any], dict[str, Any]], given: Sequence[Any], processes: int = 2
) -> Iterator[dict[str, Any]]:
    """Results of a function as they are finished, in processes of one thread."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_one_thread) as pool:
        for done in as_completed([pool.submit(function, one) for one in given]):
            yield done.result()


def _one_thread() -> None:
    os.nice(5)
    torch.set_num_threads(1)


def keep(record: dict[str, Any], path: Path) -> None:
    """Write JSON that appears in full or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n")
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    base_folder()
    settings = chosen(Settings(), out)
    for log in side_by_side(finetuned, everything(settings)):
        name = f"{log['task']}-{log['seed']}"
        keep(log, out / "logs" / f"{name}.json")
        print(f"{name}: {_last(log)} %, {log['cpu seconds']} CPU seconds", flush=True)
    assert set(TASKS) == {own.task for own in everything(settings)}


if __name__ == "__main__":
    main()
