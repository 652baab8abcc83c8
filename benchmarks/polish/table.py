"""Print the results of the benchmark of polish as Markdown.

python benchmarks/polish/table.py benchmarks/results/polish/results.json
"""

from __future__ import annotations

import json
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

TITLES = {
    "small, same": "four small networks on Fashion-MNIST, same images",
    "small, halves": "two small networks, halves of the classes 80/20",
    "vgg11, same": "two VGG11/4 on CIFAR-10, same images, 6 epochs",
    "vgg11, halves": "two VGG11/4, halves of the classes 80/20, 10 epochs",
    "resnet20, halves": "two ResNet-20, halves of the classes 80/20, 30 epochs",
}
STARTS = ("best member", "fold")


def gain(scores: dict[str, Any] | None) -> str:
    """The gain over the best member on the test images, with its standard error."""
    if scores is None:
        return ""
    value = rounded(scores["test"]["gain"])
    return f"{value if value else 0:{'+' if value else ''}.1f} ± {rounded(scores['test']['error'])}"


def rounded(value: float) -> Decimal:
    """To one digit; a half goes up."""
    return Decimal(str(value)).quantize(Decimal("0.1"), ROUND_HALF_UP)


def share(record: dict[str, Any], scores: dict[str, Any] | None) -> str:
    """The gain as a percentage of the ensemble's, if that is above two of its errors."""
    whole = record["ensemble"]["test"]
    if scores is None or whole["gain"] <= 2 * whole["error"]:
        return ""
    return f"{100 * scores['test']['gain'] / whole['gain']:.0f}"


def chosen(record: dict[str, Any], start: str) -> str | None:
    """The plan that is best on the labelled training images, of the earlier ones on a tie."""
    rows = record["polished"].get(start, {})
    return max(rows, key=lambda plan: rows[plan]["choices"]["accuracy"], default=None)


def lines(name: str, record: dict[str, Any]) -> list[str]:
    """The table of a group."""
    best = record["members"][record["best"]]
    rows = record["polished"]
    found = [
        f"| {TITLES[name]} | gain from the best member | % of the ensemble's | gain from the fold |"
        " NLL |",
        "|---|---|---|---|---|",
        f"| best member, {best['test']['accuracy']:.1f} % |  |  |  | {best['test']['nll']:.3f} |",
        f"| ensemble | {gain(record['ensemble'])} | 100 |  |"
        f" {record['ensemble']['test']['nll']:.3f} |",
    ]
    if folded := record.get("fold"):
        found.append(
            f"| fold by least squares |  |  | {gain(folded)} | {folded['test']['nll']:.3f} |"
        )
    plans = [plan for plan in _plans() if any(plan in rows.get(start, {}) for start in STARTS)]
    for plan in plans:
        first, second = (rows.get(start, {}).get(plan) for start in STARTS)
        losses = [f"{one['test']['nll']:.3f}" for one in (first, second) if one is not None]
        mark = " *" if plan == chosen(record, STARTS[0]) else ""
        found.append(
            f"| {plan}{mark} | {gain(first)} | {share(record, first)} | {gain(second)} |"
            f" {', '.join(losses)} |"
        )
    return [*found, ""]


def _plans() -> list[str]:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from benchmarks.polish.run import PLANS

    return list(PLANS)


def main() -> None:
    record = json.loads(Path(sys.argv[1]).read_text())
    for name in TITLES:
        if name in record and "polished" in record[name]:
            print("\n".join(lines(name, record[name])))


if __name__ == "__main__":
    main()
