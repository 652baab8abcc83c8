r"""Print the results of the transformer benchmark as Markdown, and draw its barriers.

    python benchmarks/transformers/table.py \
        benchmarks/results/transformers/results.json docs/evidence/transformer-barriers.svg
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from onefold.report.style import INK, color, legend, marker, new_figure, to_svg

TITLES = {
    "vit": "vision transformer, Fashion-MNIST",
    "prenorm": "text transformer, normalised before its branches, TREC",
    "bert": "BERT, normalised behind its sums, TREC",
    "lstm": "LSTM of 2 x 256 units, TREC",
    "lstm-narrow": "LSTM of 2 x 128 units, TREC",
}
SOLVED = {
    "least squares, correlation": "least squares, means of units",
    "least squares, pruning": "least squares, pruning",
    "distillation, 3 passes": "distillation of the ensemble into the better member, 3 passes",
}
METHODS = {
    "none": "plain average",
    "permutation": "permutation",
    "rotation": "rotation",
    "procrustes": "procrustes",
    "cca": "cca",
}


def cell(values: list[float]) -> str:
    """Mean over the pairs, and the pairs."""
    return f"{statistics.mean(values):.1f} ({', '.join(f'{v:.1f}' for v in values)})"


def table(name: str, own: dict[str, Any]) -> list[str]:
    """Accuracy of every fold in percent, mean over the pairs and each of them; and what it keeps of
    the way from average to weaker member.
    """
    tests = own["members"]["test"]
    weaker = [min(tests[i], tests[j]) for i, j in own["pairs"]]
    plain = [row["test"] for row in own["folds"]["none, none"]]
    lines = [
        f"| {TITLES[name]} | no repair | kept, % | repair | kept, % | mapped member alone |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| weaker member | {cell(weaker)} |  |  |  |  |",
        (
            f"| better member | {cell([max(tests[i], tests[j]) for i, j in own['pairs']])} |  |  | "
            " |  |"
        ),
    ]
    lines.append(f"| ensemble of both | {cell(own['ensemble'])} |  |  |  |  |")
    for method, title in METHODS.items():
        cells = []
        for repair in ("none", "full"):
            found = [row["test"] for row in own["folds"][f"{method}, {repair}"]]
            kept = [100 * (a - p) / (w - p) for a, p, w in zip(found, plain, weaker, strict=True)]
            cells += [
                cell(found),
                (
                    ""
                    if method == "none" and repair == "none"
                    else ", ".join(f"{k:.0f}" for k in kept)
                ),
            ]
        mapped = [row.get("mapped member, test") for row in own["folds"][f"{method}, none"]]
        lines.append(
            f"| {title} | "
            + " | ".join(cells)
            + f" | {cell([m for m in mapped if m]) if all(mapped) else ''} |"
        )
    for kind, title in SOLVED.items():
        if kind in own["folds"]:
            found = [row["test"] for row in own["folds"][kind]]
            kept = [100 * (a - p) / (w - p) for a, p, w in zip(found, plain, weaker, strict=True)]
            lines.append(
                f"| {title} | {cell(found)} | {', '.join(f'{k:.0f}' for k in kept)} |  |  |  |"
            )
    return lines


def settings(own: dict[str, Any]) -> str:
    """What held-out examples chose."""
    return "; ".join(
        key for kind, key in own["settings"].items() if not kind.startswith(("none", "permutation"))
    )


def picture(record: dict[str, Any]) -> str:
    """Accuracy along the line of two members, before and after alignment."""
    figure, panels = new_figure(2.2 * len(record), len(record), share_x=True)
    for axes, (name, own) in zip(panels, record.items(), strict=True):
        for index, (method, curves) in enumerate(own["curves"].items()):
            columns = list(zip(*curves, strict=True))
            x = [k / 10 for k in range(len(columns))]
            label = "as trained" if method == "none" else method
            axes.plot(
                x,
                [statistics.mean(c) for c in columns],
                color=color(index),
                marker=marker(index),
                markersize=4,
                label=label,
            )
            axes.fill_between(
                x,
                [min(c) for c in columns],
                [max(c) for c in columns],
                color=color(index),
                alpha=0.15,
                linewidth=0,
            )
        axes.set_ylabel("accuracy, %")
        axes.text(0.02, 0.07, TITLES[name], transform=axes.transAxes, fontsize=9, color=INK)
    panels[-1].set_xlabel("share of the second member")
    legend(panels[0], 5)
    return to_svg(figure, "transformer-barriers")


def main() -> None:
    record = json.loads(Path(sys.argv[1]).read_text())
    record = {name: record[name] for name in TITLES if name in record}
    for name, own in record.items():
        print("\n".join(table(name, own)), end="\n\n")
        print(f"Chosen on held-out examples: {settings(own)}.\n")
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(picture(record))


if __name__ == "__main__":
    main()
