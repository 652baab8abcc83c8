"""Tables of folds: averages, least squares and distillation, what least squares aims at, and pools
of classes.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.folding import aims_table, few_images_table
from benchmarks.folding import study_table as study

WHERE = {"dirichlet-vgg11-8000": "Dirichlet(0.5)", "halves-vgg11-8000": "halves of the classes"}


def sets(results: dict[str, Any], group: str) -> list[dict[str, Any]]:
    """The sets of members of a group, by images and by members."""
    return sorted(results[group].values(), key=lambda s: (s["images"], len(s["files"])))


def group_table(group: str, results: dict[str, Any]) -> list[str]:
    """All folds of one group of members; mean and deviation over its sets."""
    return study.table(study.TITLES[group], list(results[group].values()))


def curve_table(group: str, results: dict[str, Any]) -> list[str]:
    """All folds against the number of members or images."""
    return study.curve(study.CURVES[group], sets(results, group), group == "images")


for name in study.TITLES:
    table(f"folds, {name}")(partial(group_table, name))
for name in study.CURVES:
    table(f"folds, {name}")(partial(curve_table, name))


@table("what least squares aims at")
def aims(results: dict[str, Any]) -> list[str]:
    """Gains over the best member on held-out training images."""
    return aims_table.table(results)


@table("folds, few images")
def few_images(results: dict[str, Any]) -> list[str]:
    """Two to eight members, 400 images."""
    return few_images_table.table(results)


@table("pools of classes where the data are uneven")
def uneven(results: dict[str, Any]) -> list[str]:
    """How far the pool is above the plain ensemble, against how uneven the classes are."""
    heads = [f"{words}: {told}" for words in WHERE.values() for told in ("taken even", "told")]
    lines = [
        "| commonest class to rarest | " + " | ".join(heads) + " |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for ratio in results[next(iter(WHERE))]:
        cells = [
            statistics.mean(row[told] - row["ensemble"] for row in results[group][ratio])
            for group in WHERE
            for told in ("taken to be even", "told the shares")
        ]
        shown = [f"{cell:+.1f}".replace("-0.0", "0.0") for cell in cells]
        lines.append(f"| {ratio} to 1 | " + " | ".join(shown) + " |")
    return lines


def above(results: dict[str, Any], group: str, row: str) -> str:
    """How far a row is above the best member, in points, mean over the sets."""
    own = sets(results, group)
    found = [
        (
            one["ensemble"]["test"]
            if row == "ensemble"
            else one["folds"][study.best(own, study.ROWS[row])]["test"]
        )["accuracy"]
        - study.anchor(one)["accuracy"]
        for one in own
    ]
    return f"{statistics.mean(found):+.1f}"


@claim(
    "Least squares: two VGG11/4 on CIFAR-10 that know different halves of the classes",
    "least_squares.md",
    "folding/study.json",
)
def halves(results: dict[str, Any]) -> str:
    """Above the best member, beside the ensemble."""
    fold, whole = (
        above(results, "halves-vgg11", row) for row in ("least squares, pruning", "ensemble")
    )
    return f"{fold} points above the best member; the ensemble, twice the cost, {whole}"


@claim("Least squares: two VGG11/4 of the same images", "least_squares.md", "folding/study.json")
def alike(results: dict[str, Any]) -> str:
    """Above the best member, beside the ensemble."""
    fold, whole = (
        above(results, "same-vgg11", row) for row in ("least squares, pruning", "ensemble")
    )
    return f"{fold} points above the best member; the ensemble {whole}"


@claim(
    "Least squares: sixteen small networks that share out the images",
    "least_squares.md",
    "folding/study.json",
)
def sixteen(results: dict[str, Any]) -> str:
    """Accuracy beside the best member and the ensemble."""
    one = sets(results, "many-dirichlet")[-1]
    fold = study.best([one], study.ROWS["least squares, pruning"])
    accuracies = (
        one["folds"][fold]["test"]["accuracy"],
        study.anchor(one)["accuracy"],
        one["ensemble"]["test"]["accuracy"],
    )
    return "{:.1f} %; the best member {:.1f}, the ensemble {:.1f}".format(*accuracies)


@claim(
    "Averages, aligned and repaired: two VGG11/4 that know different halves",
    "least_squares.md",
    "folding/study.json",
)
def averages(results: dict[str, Any]) -> str:
    """The best and the worst of them, below the best member."""
    rows = [row for row in study.ROWS if row.endswith(", repair") and not row.startswith("plain")]
    below = [-float(above(results, "halves-vgg11", row)) for row in rows]
    return f"{min(below):.1f} to {max(below):.1f} points below the best member"
