"""Draw accuracy against multiply-adds, from one network to the ensemble.

python benchmarks/budgets/picture.py docs/evidence/budgets.svg benchmarks/results/budgets/*.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.evidence.budgets import TITLES
from onefold.report.style import color, legend, marker, new_figure, to_svg


def picture(runs: list[dict[str, Any]]) -> str:
    """The drawing as SVG: a curve for each group, its best member and its ensemble."""
    figure, (axes,) = new_figure(3.6)
    for number, run in enumerate(runs):
        points, shade = run["points"], color(number)
        axes.plot(
            [one["multiply-adds"] for one in points],
            [one["accuracy"] for one in points],
            color=shade,
            marker=marker(number),
            label=f"folds of {TITLES[run['group']]}",
        )
        for name, sign in (("best member", "s"), ("ensemble", "D")):
            one = run[name]
            axes.plot([one["multiply-adds"]], [one["accuracy"]], sign, color=shade, markersize=8)
            axes.annotate(
                name,
                (one["multiply-adds"], one["accuracy"]),
                xytext=(6, 6),
                textcoords="offset points",
                color=shade,
            )
    axes.set_xlabel("multiply-adds, in units of one member's")
    axes.set_ylabel("accuracy, %")
    legend(axes)
    return to_svg(figure, "budgets")


if __name__ == "__main__":
    files = [Path(name) for name in sys.argv[2:]]
    Path(sys.argv[1]).write_text(picture([json.loads(file.read_text()) for file in files]))
