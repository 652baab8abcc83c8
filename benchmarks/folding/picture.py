r"""Draw the README's picture: accuracy against the cost of inference.

    python benchmarks/folding/picture.py \
        benchmarks/results/folding/study.json docs/pictures/accuracy_against_cost.svg

Two VGG11 of quarter width that saw different classes of CIFAR-10, the means of three pairs. A row
that stands for several settings takes the one that was best on held-out training images.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.folding.study_table import ROWS, anchor, best
from onefold.report.style import INK, MUTED, color, new_figure, to_svg

GROUP = "halves-vgg11"
STYLE = (
    "<style>:root { color: #1f2328 }"
    " @media (prefers-color-scheme: dark) { :root { color: #e6edf3 } }</style>"
)


class Point(NamedTuple):
    """One network, or an ensemble of several.

    Attributes:
        name: what it is called beside its mark.
        cost: multiply-adds of an answer, in those of one member.
        accuracies: percent on the test images, one for each pair.
        kind: "ensemble", "member", "fold that pays" or "fold".
    """

    name: str
    cost: float
    accuracies: tuple[float, ...]
    kind: str


def points(record: dict[str, Any]) -> list[Point]:
    """What the picture shows, from the study's JSON."""
    sets = list(record[GROUP].values())

    def fold(names: tuple[str, ...]) -> tuple[float, ...]:
        setting = best(sets, names)
        assert setting is not None
        return tuple(one["folds"][setting]["test"]["accuracy"] for one in sets)

    ensemble = tuple(one["ensemble"]["test"]["accuracy"] for one in sets)
    folded = fold(ROWS["least squares, pruning"])
    return [
        Point("ensemble of both", 2.0, ensemble, "ensemble"),
        Point("one network, folded by least squares", 1.0, folded, "fold that pays"),
        Point("best member", 1.0, tuple(anchor(one)["accuracy"] for one in sets), "member"),
        Point("CCA Merge, repaired", 1.0, fold(ROWS["CCA, repair"]), "fold"),
        Point("average of the weights", 1.0, fold(ROWS["plain average"]), "fold"),
    ]


def draw(found: list[Point]) -> str:
    """The picture as an SVG file."""
    figure, (axes,) = new_figure(3.4)
    figure.set_size_inches(7.0, 3.4)  # a README shows it narrower than a report would
    colors = {"ensemble": color(1), "member": MUTED, "fold that pays": color(0), "fold": MUTED}
    for point in found:
        mean = statistics.mean(point.accuracies)
        strong = point.kind == "fold that pays"
        axes.errorbar(
            point.cost,
            mean,
            yerr=[[mean - min(point.accuracies)], [max(point.accuracies) - mean]],
            marker="s" if point.kind == "ensemble" else "o",
            markersize=10 if strong else 7,
            color=colors[point.kind],
            capsize=3,
        )
        below = point.kind == "ensemble"  # beside it lies the fold's name
        axes.annotate(
            f"{point.name}: {mean:.1f} %",
            (point.cost, mean),
            xytext=(0, -12) if below else (12, 0),
            textcoords="offset points",
            ha="center" if below else "left",
            va="top" if below else "center",
            fontsize=10,
            fontweight="bold" if strong else "normal",
            color=colors[point.kind] if strong else INK,
        )
    axes.set_xlim(0.85, 2.3)
    axes.set_xticks([1, 2], ["cost of one network", "cost of two"])
    axes.set_ylim(0, 80)
    axes.set_ylabel("accuracy on CIFAR-10, %")
    svg = to_svg(figure, "accuracy-against-cost")
    return svg.replace(">", f">\n{STYLE}", 1) + "\n"


def main() -> None:
    """Read the JSON and write the picture."""
    record = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(draw(points(record)))


if __name__ == "__main__":
    main()
