r"""Draw accuracy along the trained lines and curves, and along straight lines between independent
networks.

    python benchmarks/subspace/picture.py \
        benchmarks/results/subspace/quality-threeconv.json docs/evidence/subspace-paths.svg
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from onefold.report.style import color, legend, marker, new_figure, to_svg


def main() -> None:
    record = json.loads(Path(sys.argv[1]).read_text())
    shares = list(record["noise"])
    figure, panels = new_figure(2.3 * len(shares), len(shares), share_x=True)
    for axes, share in zip(panels, shares, strict=True):
        seeds = record["noise"][share]["seeds"]
        for index, (row, name) in enumerate(
            (
                ("line", "trained line"),
                ("curve", "trained curve"),
                ("independent", "independent networks"),
            )
        ):
            positions = [key for key in seeds[0][f"{row}, path"] if key != "barrier"]
            columns = [[seed[f"{row}, path"][key] for seed in seeds] for key in positions]
            x, mean = (
                [float(key) for key in positions],
                [statistics.mean(column) for column in columns],
            )
            axes.plot(x, mean, color=color(index), marker=marker(index), markersize=4, label=name)
            axes.fill_between(
                x,
                [min(column) for column in columns],
                [max(column) for column in columns],
                color=color(index),
                alpha=0.2,
                linewidth=0,
            )
        axes.set_ylabel("accuracy, %")
        axes.set_title(f"{100 * float(share):.0f} % of labels wrong", fontsize=9, loc="right")
    panels[-1].set_xlabel("position between the ends")
    legend(panels[0], 3)
    Path(sys.argv[2]).write_text(to_svg(figure, "subspace-paths"))


if __name__ == "__main__":
    main()
