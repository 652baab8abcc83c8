"""Least squares of many members from few images, before and after its aim is chosen.

    python benchmarks/folding/few_images.py --out benchmarks/results/folding/few_images.json
    python benchmarks/folding/few_images.py --table benchmarks/results/folding/few_images.json

Two, four and eight perceptrons with two layers of 256 units on Fashion-MNIST, which share out the
first 8,000 images by Dirichlet(0.5), or saw all of them; four on digits. So up to 2,048 units of a
layer go into 256. They are folded from 400 unlabelled training images (300 digits), three draws of
them. Accuracies are in percent on all test images, means over the draws; nothing is chosen here.
"Best" is the member that is best on the held-out training images "choices".
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
from torch import Tensor, nn

import onefold
from benchmarks.default import members
from benchmarks.default.data import small_data
from benchmarks.default.members import Member, Seen
from benchmarks.folding.few_images_table import table

DRAWS, IMAGES, WIDTH, LEADING = 3, 400, 256, 0.7
GROUPS = {
    "2, Dirichlet": ("fashion", 2, "dirichlet"),
    "4, Dirichlet": ("fashion", 4, "dirichlet"),
    "8, Dirichlet": ("fashion", 8, "dirichlet"),
    "4, the same": ("fashion", 4, "all"),
    "8, the same": ("fashion", 8, "all"),
    "4, Dirichlet, digits": ("digits", 4, "dirichlet"),
}


def perceptron(data: str) -> nn.Module:
    """784 or 64 inputs, two layers of 256 units, ten classes."""
    inputs = 64 if data == "digits" else 784
    hidden = [nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(WIDTH, 10))


def trained(data: str, count: int, kind: str) -> list[nn.Module]:
    """The members of a group."""
    last, epochs = (697, 40) if data == "digits" else (8000, 4)
    seen = [Seen(kind, part=k, of=count, last=last) for k in range(count)]
    return [Member("mlp-256", data, k, own, epochs=epochs).model() for k, own in enumerate(seen)]


def head_alone(
    best: nn.Module, models: list[nn.Module], images: list[Tensor], pool: onefold.ClassPool
) -> nn.Module:
    """The best member with its last layer solved towards the pool."""
    weights = [float(model is best) for model in models]
    target = torch.cat([pool.combined([m(x) for m in models]) for x in images]).double()
    target = target.log_softmax(1)
    target = target - target.mean(1, keepdim=True)
    body = nn.Sequential(*list(best)[:-1])
    rows = torch.cat([body(x) for x in images]).double()
    own = list(best)[-1]
    solved = onefold.merge(
        models, images, align="none", fold="average", repair="none", weights=weights
    ).model
    held = round(0.15 * len(rows))
    found = [_ridge(rows[:-held], target[:-held], own, ridge) for ridge in (1.0, 0.1, 0.01, 0.001)]
    errors = [float((rows[-held:] @ w + b - target[-held:]).square().sum()) for w, b in found]
    ridge = (1.0, 0.1, 0.01, 0.001)[errors.index(min(errors))]
    weight, bias = _ridge(rows, target, own, ridge)
    last = list(solved)[-1]
    last.weight.copy_(weight.T)
    last.bias.copy_(bias)
    return solved


def _ridge(x: Tensor, y: Tensor, own: nn.Module, ridge: float) -> tuple[Tensor, Tensor]:
    """Ridge regression towards a layer's own weights."""
    prior = own.weight.double().T
    rest = y - x @ prior
    mean_x, mean_y = x.mean(0), rest.mean(0)
    gram = (x - mean_x).T @ (x - mean_x) / len(x)
    loading = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    change = torch.linalg.solve(gram + loading, (x - mean_x).T @ (rest - mean_y) / len(x))
    return prior + change, mean_y - mean_x @ change


@torch.no_grad()
def measure(data: str, count: int, kind: str, draw: int) -> dict[str, float]:
    """The row of one draw."""
    models, whole = trained(data, count, kind), small_data(data)
    choices, test = whole.choices.batches(), whole.test.batches()
    order = torch.randperm(
        len(whole.unlabelled), generator=torch.Generator().manual_seed(100 + draw)
    )
    images = list(whole.unlabelled.images[order[:IMAGES]].split(100))
    known = [onefold.evaluate(model, choices).accuracy for model in models]
    best = known.index(max(known))
    pool = onefold.class_pool(models, images)
    weights = [LEADING if k == best else (1 - LEADING) / (count - 1) for k in range(count)]

    def accuracy(what: Any, **how: Any) -> float:
        return round(100 * onefold.evaluate(what, test, **how).accuracy, 3)

    def folded(ensemble: Any, weights: list[float] | None = None) -> float:
        fold = onefold.LeastSquares(ensemble=ensemble)
        given = {"align": "none", "fold": fold, "reference": best, "weights": weights}
        return accuracy(onefold.merge(models, images, **given).model)

    one = [models[best]]
    return {
        "best": accuracy(models[best]),
        "balanced": accuracy(one, ensemble=onefold.class_pool(one, images)),
        "probabilities": accuracy(models, ensemble="probabilities"),
        "pool": accuracy(models, ensemble=pool),
        "before": folded("logits"),
        "after": folded(None),
        "head": accuracy(head_alone(models[best], models, images, pool)),
        "classes": folded(pool),
        "leading": folded(pool, weights),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(json.loads(arguments.table.read_text()))))
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    members.NETWORKS["mlp-256"] = perceptron
    rows = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name, (data, count, kind) in GROUPS.items():
        for draw in range(len(rows.get(name, [])), DRAWS):
            rows.setdefault(name, []).append(measure(data, count, kind, draw))
            print(name, rows[name][-1], flush=True)
            arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
