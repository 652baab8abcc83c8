"""Repair of averages without alignment: when it helps, and whether anything without labels tells.

    python benchmarks/folding/unaligned_repair.py --out \
        benchmarks/results/folding/unaligned_repair.json

Random groups of two, four or eight small networks on Fashion-MNIST at 14x14 pixels: perceptrons
without norms or with batch norm, of other initial weights, of the same ones, or branches of a
network that was trained for 1 or 3 passes; the classes are shared out by Dirichlet(0.1), (0.5) or
evenly. They are averaged as they are, from 400 unlabelled training images. Accuracies are in
percent on 2,000 held-out training images: no test image is used, as the rule is chosen by this.

`distance`: the mean squared distance of the logits to the mean of the members' logits, relative to
the variance of these. `agreement`: with the members' mean probabilities.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onefold
from benchmarks.common.data import load_data

SEEN, CLASSES, GROUPS = 1500, 10, 119


def network(kind: str, width: int, hidden: int) -> nn.Module:
    """A perceptron for 14x14 images; kind "bn" has batch norms."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = 196
    for _ in range(hidden):
        norm = [nn.BatchNorm1d(width)] if kind == "bn" else []
        layers += [nn.Linear(inputs, width), *norm, nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, CLASSES))


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, seed: int, lr: float) -> nn.Module:
    """Adam under a rate that falls linearly."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    total, step = max(1, epochs * ((len(y) + 31) // 32)), 0
    model.train()
    for _ in range(epochs):
        for index in torch.randperm(len(y), generator=generator).split(32):
            if len(index) < 8:
                continue
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - step / total) + 1e-5
            step += 1
            loss = F.cross_entropy(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def shares(labels: Tensor, members: int, seed: int, alpha: float) -> list[Tensor]:
    """The images of every member: each class is shared out by Dirichlet(alpha)."""
    random = np.random.default_rng([seed, members])
    parts: list[list[Any]] = [[] for _ in range(members)]
    for label in range(CLASSES):
        own = random.permutation(np.flatnonzero(labels.numpy() == label))
        ends = np.concatenate([[0], np.cumsum(random.dirichlet([alpha] * members))])
        ends[-1] = 1
        for k in range(members):
            parts[k].append(own[round(ends[k] * len(own)) : round(ends[k + 1] * len(own))])
    return [torch.from_numpy(np.concatenate(part)) for part in parts]


def groups(count: int) -> Any:
    """Random groups, each as its facts and its members."""
    random = np.random.default_rng(1)
    seen = load_data("fashion_mnist").seen
    images, labels = F.avg_pool2d(seen.images[:6000], 2), seen.labels[:6000]
    while count:
        hidden, width = int(random.integers(1, 4)), int(random.choice([32, 64]))
        members, start = int(random.choice([2, 2, 4, 8])), int(random.choice([-1, -1, 0, 0, 1, 3]))
        epochs, alpha = int(random.choice([2, 8])), float(random.choice([0.1, 0.5, 1e4]))
        seed, kind = int(random.integers(1000)), str(random.choice(["mlp", "mlp", "bn"]))
        lr = float(random.choice([5e-4, 2e-3]))
        chosen = torch.from_numpy(random.permutation(len(labels))[:SEEN])
        x, y = images[chosen], labels[chosen]
        parts = shares(y, members, seed, alpha)
        torch.manual_seed(seed)
        origin = network(kind, width, hidden)
        if start > 0:
            train(origin, x, y, start, 5, 1e-3)
        if min(len(part) for part in parts) < 20:
            continue
        models = []
        for k, part in enumerate(parts):
            torch.manual_seed(seed + k + 1)
            model = copy.deepcopy(origin) if start >= 0 else network(kind, width, hidden)
            models.append(train(model, x[part], y[part], epochs, k, lr))
        count -= 1
        origins = "other" if start < 0 else "the same" if start == 0 else "trained"
        yield {"network": kind, "origin": origins, "members": members, "alpha": alpha}, models


@torch.no_grad()
def measured(model: nn.Module, models: list[nn.Module], images: Tensor) -> dict[str, float]:
    """What can be told of a folded network without labels."""
    found = [member(images) for member in models]
    mean = torch.stack(found).mean(0)
    mean = mean - mean.mean(1, keepdim=True)
    own = model(images)
    logits = own - own.mean(1, keepdim=True)
    answers = torch.stack([z.softmax(1) for z in found]).mean(0).argmax(1)
    return {
        "distance": round(float((logits - mean).square().mean() / mean.var()), 4),
        "agreement": round(float((own.argmax(1) == answers).float().mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--groups", type=int, default=GROUPS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    data = load_data("fashion_mnist")
    images = F.avg_pool2d(data.unlabelled.images[:400], 2)
    held, labels = F.avg_pool2d(data.choices.images[:2000], 2), data.choices.labels[:2000]
    judged = list(zip(held.split(500), labels.split(500), strict=True))
    rows = []
    for facts, models in groups(arguments.groups):
        row: dict[str, Any] = {**facts, "best": 0.0}
        row["best"] = max(round(100 * onefold.evaluate(m, judged).accuracy, 2) for m in models)
        for repair in ("none", "batchnorm", "full"):
            model = onefold.merge(
                models, list(images.split(100)), align="none", fold="average", repair=repair
            ).model
            score = round(100 * onefold.evaluate(model, judged).accuracy, 2)
            row[repair] = {"accuracy": score, **measured(model, models, images)}
        rows.append(row)
        gain = row["full"]["accuracy"] - row["none"]["accuracy"]
        print(f"{gain:+6.2f} {facts}", flush=True)
    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    steps = [row["full"]["accuracy"] - row["none"]["accuracy"] for row in rows]
    print(f"mean {statistics.mean(steps):+.2f}, least {min(steps):+.2f}, most {max(steps):+.2f}")


if __name__ == "__main__":
    main()
