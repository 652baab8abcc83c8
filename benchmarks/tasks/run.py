"""Fold networks of every kind of task, and measure each in the task's own score.

    python benchmarks/tasks/run.py                       all tasks, benchmarks/results/tasks
    python benchmarks/tasks/run.py --task tables series  these alone
    python benchmarks/tasks/run.py --train               members alone; nothing is measured

Members that are missing are trained first, each in minutes on one core, and kept (members.py). Two
groups of each task are folded: members that learned the same from other seeds, and members that
each learned another share of the data. All ways (ways.py) have the defaults of onefold. Nothing is
chosen on test examples: which member is best, what the default takes, and gates come from held-out
training examples. What was measured is kept; a stopped run goes on. `--anew` measures these rows
again:

    python benchmarks/tasks/run.py --task tables --anew "least squares" "the default"

Gates of layers take the longest; `--skip` leaves rows for later.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.common.data import REPOSITORY
from benchmarks.default.record import keep, kept
from benchmarks.tasks.measure import measured
from benchmarks.tasks.members import members
from benchmarks.tasks.registry import MODULES, benchmarks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", nargs="*", choices=MODULES, default=list(MODULES))
    parser.add_argument("--train", action="store_true", help="train members, measure nothing")
    parser.add_argument("--anew", nargs="*", default=[], help="rows that are measured again")
    parser.add_argument("--skip", nargs="*", default=[], help="rows that are left out")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks" / "results" / "tasks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.task:
        own = benchmarks()[name]()
        if arguments.train:
            parts = own.load(own.sizes)
            for one in (each for group in own.groups for each in members(own, group)):
                one.model(parts)
                print(f"{one.file.name}: {one.seconds} s", flush=True)
            continue
        path = arguments.out / f"{name}.json"
        record = kept(path)
        for group in record.get("groups", {}).values():
            for row in arguments.anew:
                group["rows"].pop(row, None)
        measured(
            own,
            record,
            lambda record=record, path=path: keep(record, path),
            lambda words: print(words, flush=True),
            arguments.skip,
        )


if __name__ == "__main__":
    main()
