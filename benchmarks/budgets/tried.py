"""Ideas for folds to a budget, judged on held-out images that nothing else is judged on here.

    python -m benchmarks.budgets.tried --out benchmarks/results/budgets/tried.json

One pair of VGG11 that knows different classes; 3,000 of the 5,000 labelled held-out images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

from torch import nn

import onefold
from benchmarks.budgets.script import write_measured
from benchmarks.common.groups import onefold_groups
from onefold.batches import Batch
from onefold.fold.least_squares import units
from onefold.widths.costs import multiply_adds

IMAGES, JUDGED = 4000, 3000
ROUNDS = (3.0, 2.5, 2.0)
FOLDS: dict[str, dict[str, Any]] = {
    "budget of 1.5x": {"budget": "1.5x"},
    "every group 1.22 times as wide": {"width": 1.22},
    "budget of 1.5x, three times as many positions": {"budget": "1.5x", "rows": 60000},
    "budget of 2x": {"budget": "2x"},
    "every group 1.41 times as wide": {"width": 1.41},
}


def rounds(models: Sequence[nn.Module], data: Any, cost: Any) -> nn.Module:
    """The ensemble as one network, pruned again and again."""
    fold = onefold.LeastSquares(ensemble="logits", width=float(len(models)))
    network = onefold.merge(models, data, align="none", fold=fold).model
    for factor in ROUNDS:
        network = onefold.prune(network, data, budget=f"{factor / cost(network)}x").model
    return network


def measure() -> dict[str, Any]:
    """Accuracies in percent, and multiply-adds in units of one member's."""
    group = onefold_groups()["halves"]
    models, data = group.models(), group.unlabelled(IMAGES)
    held = group.choices()
    judged = list(
        zip(held.images[:JUDGED].split(500), held.labels[:JUDGED].split(500), strict=True)
    )
    one = multiply_adds(models[0], Batch((data[0],)))

    def cost(network: nn.Module) -> float:
        return multiply_adds(network, Batch((data[0],))) / one

    def row(network: nn.Module) -> dict[str, float]:
        found = onefold.evaluate(network, judged)
        return {"accuracy": round(100 * found.accuracy, 2), "cost": round(cost(network), 2)}

    def fold(**settings: Any) -> nn.Module:
        method = onefold.LeastSquares(ensemble="logits", keep="units", **settings)
        network: nn.Module = onefold.merge(models, data, align="none", fold=method).model
        return network

    ensemble = onefold.evaluate(models, judged, ensemble="logits").accuracy
    rows = {name: row(fold(**settings)) for name, settings in FOLDS.items()}
    with mock.patch.object(units, "RANKED", 1e-2):
        rows["budget of 1.5x, units ranked with a hundred times the ridge"] = row(
            fold(budget="1.5x")
        )
    rows["in rounds, from the ensemble's width on"] = row(rounds(models, data, cost))
    return {
        "images": JUDGED,
        "members": [row(model)["accuracy"] for model in models],
        "ensemble": round(100 * ensemble, 2),
        "rows": rows,
    }


if __name__ == "__main__":
    write_measured(measure, __doc__)
