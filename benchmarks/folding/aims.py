"""What least squares should aim at by default: the figures that the rule was chosen by.

    python benchmarks/folding/aims.py --out benchmarks/results/folding/aims.json
    python benchmarks/folding/aims.py --table benchmarks/results/folding/aims.json

The groups of `benchmarks/default` whose members are finite, on their first draw of unlabelled
images. Of each group: what `onefold.ensemble.mean_choice` measures, the best member, the ensembles
and the folds that aim at the means of logits and of probabilities and at the pool of classes.
Accuracies are in percent on the held-out training images "choices", never on test images.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn

import onefold
from benchmarks.default.data import small_data
from benchmarks.default.groups import SmallGroup, small_groups
from benchmarks.folding.aims_table import KINDS, table
from onefold.ensemble.mean_choice import _stillness, choose_mean
from onefold.inference import Output


def measure(group: SmallGroup) -> dict[str, Any]:
    """The row of one group."""
    models, images = group.models(), group.draw(0).unlabelled
    judged = small_data(group.data).choices.batches()

    def accuracy(what: Any, **how: Any) -> float:
        return round(100 * onefold.evaluate(what, judged, **how).accuracy, 3)

    even = [1 / len(models)] * len(models)
    told = choose_mean(models, images, Output(class_axis=1), even)
    pool = onefold.class_pool(models, images)
    means = {"logits": "logits", "probabilities": "probabilities", "classes": pool}
    row: dict[str, Any] = {
        "kind": group.kind,
        "members": len(models),
        "best": max(accuracy(model) for model in models),
        "uneven": [round(u, 4) for u in told.uneven],
        "variation": round(told.variation, 4),
        "stillness": [round(still(model, images), 3) for model in models],
        "ensemble": {name: accuracy(models, ensemble=mean) for name, mean in means.items()},
        "fold": {},
    }
    for name, mean in means.items():
        fold = onefold.LeastSquares(ensemble=mean)
        row["fold"][name] = accuracy(onefold.merge(models, images, align="none", fold=fold).model)
    return row


@torch.no_grad()
def still(model: nn.Module, images: list[torch.Tensor]) -> float:
    """The ratio that tells classifiers from regressors."""
    return _stillness(torch.cat([model(x) for x in images]).double())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(json.loads(arguments.table.read_text()))))
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name, group in small_groups(repeats=arguments.repeats, kinds=list(KINDS)).items():
        if name in rows:
            continue
        rows[name] = measure(group)
        print(name, rows[name]["chosen"], rows[name]["best"], rows[name]["fold"], flush=True)
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
