"""Print the study of folds as Markdown.

    python benchmarks/folding/study_table.py benchmarks/results/folding/study.json

A row that stands for several settings shows the one that was best on held-out training images over
all sets of its group.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

TITLES = {
    "same-vgg11": "VGG11 x1/4 on CIFAR-10, same images",
    "same-resnet20": "ResNet-20 on CIFAR-10, same images",
    "halves-vgg11": "VGG11 x1/4 on CIFAR-10, halves of the classes 80/20, 2,000 unlabelled images",
    "halves-vgg11-8000": "the same, 8,000 unlabelled images",
    "dirichlet-vgg11": "VGG11 x1/4 on CIFAR-10, Dirichlet(0.5), 2,000 unlabelled images",
    "dirichlet-vgg11-8000": "the same, 8,000 unlabelled images",
}
CURVES = {
    "many-halves": "VGG11 x1/4, halves of the classes 80/20",
    "many-dirichlet": (
        "small networks on Fashion-MNIST, members of 16 that share out the images by Dirichlet(0.5)"
    ),
    "many-same": "small networks on Fashion-MNIST, same images, half an epoch",
    "images": "VGG11 x1/4, halves of the classes, against the number of unlabelled images",
}
RATES = ("0.0001", "0.0003", "0.001", "0.0003 probabilities")
VIEWED = ("0.001 probabilities",)
RECORDED = {
    "pooled by class": "ensemble, pooled by class",
    "best member, balanced": "best member, balanced",
}  # what is no fold
PRUNING = (
    "pruning",
    "pruning, anchor 0.7",
    "pruning, probabilities",
    "pruning, probabilities, anchor 0.7",
)
ROWS = {
    "plain average": ("none, no repair",),
    "plain average, repair": ("none, repair",),
    "permutation": ("permutation, no repair",),
    "permutation, repair": ("permutation, repair",),
    "weight matching": ("weights, no repair",),
    "weight matching, repair": ("weights, repair",),
    "optimal transport, repair": ("transport, repair",),
    "ZipIt": ("zipit, no repair",),
    "ZipIt, repair": ("zipit, repair",),
    "Procrustes, repair": ("procrustes prior=0.0, repair",),
    "CCA, repair": tuple(
        f"cca regularization={r} prior={p}, repair"
        for r, p in ((1.0, 0.0), (10.0, 0.0), (10.0, 0.1))
    ),
    "least squares, means": tuple(
        f"least squares, {t}" for t in ("equal", "correlation", "selection")
    ),
    "least squares, pruning": tuple(f"least squares, {t}" for t in PRUNING),
    "least squares, polish 3": tuple(f"least squares, polish 3 lr={r}" for r in RATES),
    "least squares, polish 10": tuple(f"least squares, polish 10 lr={r}" for r in RATES),
    "least squares, polish 10 on views": tuple(
        f"least squares, polish 10 lr={r} views" for r in VIEWED
    ),
    "distillation, 3 passes": tuple(f"distillation lr={r}, 3 passes" for r in RATES),
    "distillation, 10 passes": tuple(f"distillation lr={r}, 10 passes" for r in RATES),
    "distillation, 10 passes on views": tuple(
        f"distillation lr={r} views, 10 passes" for r in VIEWED
    ),
    "pooled by class: least squares": ("least squares, pruning, classes",),
    "pooled by class: least squares, polish 3": ("least squares, polish 3 lr=0.0003 classes",),
    "pooled by class: least squares, polish 10 on views": (
        "least squares, polish 10 lr=0.001 classes views",
    ),
    "pooled by class: distillation, 3 passes": ("distillation lr=0.0003 classes, 3 passes",),
    "pooled by class: distillation, 10 passes on views": (
        "distillation lr=0.001 classes views, 10 passes",
    ),
    "pooled by class: distillation into the balanced best member, 3 passes": (
        "balanced, then distillation lr=0.0003 classes, 3 passes",
    ),
}
Sets = list[dict[str, Any]]


def best(sets: Sets, names: tuple[str, ...]) -> str | None:
    """The setting with the best mean accuracy on held-out images, of those in every set."""
    found = [name for name in names if all(name in s["folds"] for s in sets)]
    return (
        max(
            found,
            key=lambda name: statistics.mean(
                s["folds"][name]["held out"]["accuracy"] for s in sets
            ),
        )
        if found
        else None
    )


def anchor(one: dict[str, Any]) -> dict[str, float]:
    """Test scores of the member that is best on held-out images."""
    scores: dict[str, float] = one["members"][one["best"]]["test"]
    return scores


def mean(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.mean(values):.1f}" + (
        f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    )


def table(title: str, sets: Sets) -> list[str]:
    """Accuracy and NLL on test images, and how far above the best member, mean and deviation over
    the sets.
    """
    own = [anchor(s) for s in sets]
    lines = [
        f"| {title} | accuracy, % | above the best member | NLL | setting |",
        "|---|---|---|---|---|",
    ]
    lines.append(
        f"| best member | {mean([m['accuracy'] for m in own])} |  |"
        f" {statistics.mean(m['nll'] for m in own):.2f} |  |"
    )
    rows = [("ensemble", [s["ensemble"]["test"] for s in sets], "")]
    rows += [
        (row, [s[key]["test"] for s in sets], "")
        for key, row in RECORDED.items()
        if all(key in s for s in sets)
    ]
    for row, names in ROWS.items():
        name = best(sets, names)
        if name is not None:
            rows.append(
                (row, [s["folds"][name]["test"] for s in sets], name if len(names) > 1 else "")
            )
    for row, scores, setting in rows:
        gain = [x["accuracy"] - m["accuracy"] for x, m in zip(scores, own, strict=True)]
        lines.append(
            f"| {row} | {mean([x['accuracy'] for x in scores])} | {mean(gain)} |"
            f" {statistics.mean(x['nll'] for x in scores):.2f} | {setting} |"
        )
    return [*lines, ""]


def curve(title: str, sets: Sets, by_images: bool) -> list[str]:
    """Accuracy on test images, a column for each number of members or images; settings chosen for
    each.
    """
    heads = [f"{s['images']} images" if by_images else f"{len(s['files'])} members" for s in sets]
    lines = [f"| {title} | " + " | ".join(heads) + " |", "|---" * (len(sets) + 1) + "|"]
    lines.append(
        "| best member | " + " | ".join(f"{anchor(s)['accuracy']:.1f}" for s in sets) + " |"
    )
    lines.append(
        "| ensemble | "
        + " | ".join(f"{s['ensemble']['test']['accuracy']:.1f}" for s in sets)
        + " |"
    )
    for key, row in RECORDED.items():
        if any(key in s for s in sets):
            lines.append(
                f"| {row} | "
                + " | ".join(f"{s[key]['test']['accuracy']:.1f}" if key in s else "" for s in sets)
                + " |"
            )
    for row, names in ROWS.items():
        found = [best([s], names) for s in sets]
        if any(found):
            cells = [
                f"{s['folds'][name]['test']['accuracy']:.1f}" if name else ""
                for s, name in zip(sets, found, strict=True)
            ]
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def main() -> None:
    record: dict[str, Any] = {}
    for path in sys.argv[1:]:
        record |= json.loads(Path(path).read_text())
    lines: list[str] = []
    for name, title in TITLES.items():
        if name in record:
            lines += table(title, list(record[name].values()))
    for name, title in CURVES.items():
        if name in record:
            lines += curve(
                title,
                sorted(record[name].values(), key=lambda s: (s["images"], len(s["files"]))),
                name == "images",
            )
    print("\n".join(lines).rstrip())


if __name__ == "__main__":
    main()
