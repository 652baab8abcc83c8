"""Train the networks of the benchmark that are no committed members, on one core.

    python benchmarks/pruning/train.py                   all that are missing, the quickest first
    python benchmarks/pruning/train.py --name mobilenet
    python benchmarks/pruning/train.py --choose lstm-trec   rates compared on held-out examples

A run that is stopped goes on at the last pass. Weights are kept outside of the repository
(`cases.state_folder`), as whole numbers of 8 bits (`benchmarks.common.storage`); logs lie in
benchmarks/results/pruning/training. Rates were compared on the part "choices", never on test data.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.common.data import REPOSITORY
from benchmarks.common.storage import store
from benchmarks.default.record import keep, kept
from benchmarks.members.training import accuracy
from benchmarks.pruning.cases import CASES, Case, part_of, state_folder
from benchmarks.pruning.training import Examples, Training

LOGS = REPOSITORY / "benchmarks" / "results" / "pruning" / "training"
ORDER = ("lstm-trec", "lstm-sst2", "mobilenet", "vit")  # the quickest first
FACTORS = (0.5, 1.0, 2.0)  # of the rate, that are compared
BRIEF = 5000  # examples of a comparison


def train(case: Case, logs: Path) -> None:
    """Train a network, and write its weights and its log."""
    assert case.training is not None
    data, model = case.data(), case.build()
    state_folder().mkdir(parents=True, exist_ok=True)
    state = state_folder() / f"{case.name}.pt"
    training = Training(model, Examples(data.seen), case.training, state)
    curve = training.run(lambda line: print(f"{case.name}: {line}", flush=True))
    store(model.state_dict(), case.file)
    stored = case.trained()
    log = {
        "title": case.title,
        "settings": asdict(case.training),
        "examples": len(data.seen),
        "test_accuracy": round(accuracy(stored, data.test), 2),
        "test_accuracy_float32": round(accuracy(model, data.test), 2),
        "choices_accuracy": round(accuracy(stored, data.choices), 2),
        "cpu_seconds": round(sum(entry["cpu_seconds"] for entry in curve), 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "curve": curve,
    }
    logs.mkdir(parents=True, exist_ok=True)
    (logs / f"{case.name}.json").write_text(json.dumps(log, indent=1) + "\n")
    print(f"{case.name}: {log['test_accuracy']} % on test data", flush=True)


def choose(case: Case, logs: Path) -> None:
    """What brief trainings at several rates reach on the part "choices", into rates.json."""
    assert case.training is not None
    data = case.data()
    brief = Examples(part_of(data.seen, slice(BRIEF)))
    passes = case.training.passes if len(data.seen) <= BRIEF else 3
    reached = {}
    for factor in FACTORS:
        settings = replace(case.training, passes=passes, lr=factor * case.training.lr)
        model = case.build()
        Training(model, brief, settings).run()
        reached[f"{settings.lr:g}"] = round(accuracy(model, data.choices), 2)
        print(f"{case.name}: {passes} passes at {reached}", flush=True)
    rates = kept(logs / "rates.json")
    rates[case.name] = {"examples": len(brief), "passes": passes, "choices_accuracy": reached}
    keep(rates, logs / "rates.json")


def main() -> None:
    """Read the arguments and carry them out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", choices=ORDER, help="train this network")
    parser.add_argument("--choose", choices=ORDER, help="compare rates for this network")
    parser.add_argument("--logs", type=Path, default=LOGS, help="where logs are written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.choose:
        choose(CASES[arguments.choose], arguments.logs)
        return
    for name in [arguments.name] if arguments.name else ORDER:
        if not CASES[name].file.exists():
            train(CASES[name], arguments.logs)


if __name__ == "__main__":
    main()
