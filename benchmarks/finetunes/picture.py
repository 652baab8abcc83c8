r"""Draw what is left of the fine-tunes' accuracy against the scale of the merged change.

    python -m benchmarks.finetunes.picture \
        benchmarks/results/finetunes/merges.json docs/evidence/checkpoints-scales.svg

Held-out sentences, by which scales are chosen; of several densities the best one of each method.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from onefold.report.style import color, legend, marker, new_figure, to_svg

SUMS = ("task_arithmetic", "dare_linear", "breadcrumbs", "magmax", "swudi")
OTHERS = ("ties", "della", "tsv_m", "iso_c", "iso_cts")


def curve(row: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Scales and the means in per cent, at the settings that were chosen beside the scale."""
    kept = {name: value for name, value in row["settings"].items() if name != "lambda"}
    points = [
        (one["settings"]["lambda"], 100 * one["normalised"])
        for one in row["grid"]
        if {name: value for name, value in one["settings"].items() if name != "lambda"} == kept
    ]
    x, y = zip(*sorted(points), strict=True)
    return list(x), list(y)


def draw(record: dict[str, Any]) -> str:
    """The picture as SVG."""
    figure, panels = new_figure(4.6, 2)
    for axes, names in zip(panels, (SUMS, OTHERS), strict=True):
        for index, name in enumerate(name for name in names if name in record["rows"]):
            x, y = curve(record["rows"][name])
            axes.plot(x, y, color=color(index), marker=marker(index), markersize=4, label=name)
        axes.set_ylabel("of the fine-tunes, %")
        legend(axes, 3)
    panels[-1].set_xlabel("scale (lambda)")
    return to_svg(figure, "checkpoints-scales")


def main() -> None:
    Path(sys.argv[2]).write_text(draw(json.loads(Path(sys.argv[1]).read_text())))


if __name__ == "__main__":
    main()
