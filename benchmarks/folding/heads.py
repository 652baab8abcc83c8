"""The output layer of least squares by squares and by logistic regression, on test images.

    python benchmarks/folding/heads.py --out benchmarks/results/folding/heads.json

Pairs of small networks that saw other classes, three repeats of each: "disjoint", half of the
classes each; "overlap", seven of ten each, four of them in common; "few", all classes, but of three
only 5 %; "halves", 80 % of one half and 20 % of the other. The folds read the first draw of
unlabelled images of `benchmarks/default`. Nothing is chosen on test images: every row stands for
one setting.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn

import onefold
from benchmarks.default.data import draw, small_data
from benchmarks.default.members import Member, Seen

NETWORKS = {
    "MLP, digits": Member("mlp", "digits", 0, epochs=60, seen=Seen(last=697)),
    "CNN, digits": Member("digits", "digits", 0, epochs=25, seen=Seen(last=697)),
    "MLP, Fashion-MNIST": Member("mlp", "fashion", 0, epochs=8),
    "CNN, Fashion-MNIST": Member("smallcnn", "fashion", 0, epochs=6),
}
SHARES = ("disjoint", "overlap", "few", "halves")
FOLDS = {
    "squares, logits": onefold.LeastSquares(ensemble="logits"),
    "squares, probabilities": onefold.LeastSquares(ensemble="probabilities"),
    "squares, classes": onefold.LeastSquares(ensemble="classes"),
    "logistic, probabilities": onefold.LeastSquares(ensemble="probabilities", head="logistic"),
    "logistic, classes": onefold.LeastSquares(ensemble="classes", head="logistic"),
}


def pair(network: str, share: str, repeat: int) -> tuple[str, list[nn.Module]]:
    """The data's name and the members of one group."""
    like = NETWORKS[network]
    members = [
        replace(
            like,
            seed=100 * repeat + k,
            seen=replace(like.seen, kind=share, part=k, of=2, draw=repeat),
        )
        for k in range(2)
    ]
    return like.data, [member.model() for member in members]


def measure(network: str, share: str, repeat: int) -> dict[str, Any]:
    """Accuracies in percent on the test images, and the seconds of every fold."""
    name, models = pair(network, share, repeat)
    images, judged = draw(name, 0).unlabelled, small_data(name).test.batches()

    def accuracy(what: Any, **how: Any) -> float:
        return round(100 * onefold.evaluate(what, judged, **how).accuracy, 3)

    pool = onefold.class_pool(models, images)
    row: dict[str, Any] = {
        "best member": max(accuracy(model) for model in models),
        "ensemble": {
            "probabilities": accuracy(models),
            "logits": accuracy(models, ensemble="logits"),
            "classes": accuracy(models, ensemble=pool),
        },
        "folds": {},
        "seconds": {},
    }
    for fold, settings in FOLDS.items():
        start = time.perf_counter()
        result = onefold.merge(models, images, align="none", fold=settings)
        row["seconds"][fold] = round(time.perf_counter() - start, 2)
        row["folds"][fold] = accuracy(result.model)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    record = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for network in NETWORKS:
        for share in SHARES:
            for repeat in range(arguments.repeats):
                rows = record.setdefault(network, {}).setdefault(share, {})
                if str(repeat) in rows:
                    continue
                rows[str(repeat)] = measure(network, share, repeat)
                print(network, share, repeat, rows[str(repeat)], flush=True)
                arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
