"""Where a fold to a budget loses: each group narrowed alone, and what the nonlinearity hides.

    python -m benchmarks.budgets.causes --out benchmarks/results/budgets/causes.json

One pair of VGG11 that knows different classes; fitted on 4,000 unlabelled images, judged on the
5,000 labelled held-out ones. Losses are divergences from the ensemble, in nats.

"units of all" and "one member whole" are the two ways of `onefold.LeastSquares(keep=...)`.

"by group" narrows one group to the width that the budget gives it, all others stay side by side. If
errors add up, the sum is the loss of the fold, and what is lost is lost for want of units.

"units of all, behind the ReLU" solves each layer again towards what a ReLU lets through: a target
below zero is moved to where the solution is, if that is below zero, too (Zhang et al. 2016,
"Accelerating Very Deep Convolutional Networks for Classification and Detection", arXiv 1505.06798).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onefold
from benchmarks.budgets.script import write_measured
from benchmarks.common.groups import onefold_groups
from onefold.fold import fold_to_budgets
from onefold.fold.least_squares import ranking, solve
from onefold.fold.least_squares.layers import Site
from onefold.fold.least_squares.ridge import Ridge, Solution
from onefold.symmetry.segments import SegmentedRun

IMAGES, BUDGETS, BY_GROUP, AGAIN = 4000, ("1x", "1.5x", "2x"), "1.5x", 4
OWN_WIDTHS = ranking.Ranking.widths


def logits(networks: Sequence[nn.Module], batches: Sequence[Tensor]) -> Tensor:
    """The mean of the networks' outputs (n, classes)."""
    with torch.no_grad():
        return torch.cat([torch.stack([n(x) for n in networks]).mean(0) for x in batches])


@contextmanager
def narrowed_alone(only: Collection[str] | None) -> Iterator[dict[str, int]]:
    """Folds in which all groups but these stay side by side; yields the budget's own widths."""
    told: dict[str, int] = {}

    def widths(self: ranking.Ranking, way: str, width: Any, budget: Any) -> dict[str, int]:
        told.update(found := OWN_WIDTHS(self, way, width, budget))
        count, spec = len(self.plan.shares), self.plan.spec
        if only is None:
            return found
        return {n: w if n in only else count * spec.group(n).size for n, w in found.items()}

    with mock.patch.object(ranking.Ranking, "widths", widths):
        yield told


def relaxed(
    run: SegmentedRun, site: Site, targets: Tensor, samples: Any, found: Solution
) -> Tensor:
    """Targets (rows, channels) that are moved to the solution where both are below zero."""
    sources = [run.values(layer.source) for layer in site.layers]
    minus = run.values(site.minus) if site.minus is not None else None
    moved, start = [], 0
    for batch, sample in enumerate(samples):
        target = targets[start : start + len(sample)]
        start += len(sample)
        blocks = [
            geometry.inputs(values[batch], sample, layer.groups).to(target.dtype)
            for geometry, layer, values in zip(site.geometries, site.layers, sources, strict=True)
        ]
        rows = torch.cat(blocks, 2)
        own = rows @ found.matrix.to(rows.dtype) + found.constant[:, None].to(rows.dtype)
        own = own.transpose(0, 1).reshape(len(target), -1)
        if minus is not None:
            own = own + sample.take(minus[batch]).to(own.dtype)
        moved.append(torch.where(target > 0, target, own.clamp(max=0)))
    return torch.cat(moved)


def behind_the_activation() -> Any:
    """Folds whose layers are solved again, in `AGAIN` turns, towards relaxed targets."""
    real: Callable[..., None] = solve._write
    rows_of: Callable[..., None] = solve._add_rows
    last: dict[str, Any] = {}

    def add_rows(sums: Ridge, run: Any, site: Site, targets: Tensor, samples: Any) -> None:
        last.update(sums=sums, run=run, targets=targets, samples=samples)
        rows_of(sums, run, site, targets, samples)

    def write(state: Any, site: Site, solution: Solution) -> None:
        read = site.activation
        if read is not None and "relu" in str(read.target):
            sums, told = last["sums"], (last["run"], site, last["targets"], last["samples"])
            for _ in range(AGAIN):
                again = Ridge(sums._priors, sums._intercept)
                rows_of(again, told[0], site, relaxed(*told, solution), told[3])
                solution = again.solve(solution.ridge)
        real(state, site, solution)

    return mock.patch.multiple(solve, _add_rows=add_rows, _write=write)


def measure() -> dict[str, Any]:
    """Accuracies in percent, losses in nats."""
    group = onefold_groups()["halves"]
    models, data, held = group.models(), group.unlabelled(IMAGES), group.choices().batches()
    aim = logits(models, [x for x, _ in held]).log_softmax(1)

    def fold(budgets: Sequence[str], keep: str = "units") -> list[dict[str, float]]:
        method = onefold.LeastSquares(ensemble="logits", keep=keep)
        folds = [f.model for f in fold_to_budgets(models, data, list(budgets), method=method)]
        rows = []
        for network in folds:
            own = logits([network], [x for x, _ in held]).log_softmax(1)
            loss = float(F.kl_div(own, aim, log_target=True, reduction="batchmean"))
            accuracy = round(100 * onefold.evaluate(network, held).accuracy, 2)
            rows.append({"accuracy": accuracy, "divergence": round(loss, 5)})
        print(json.dumps(rows), flush=True)
        return rows

    plain = dict(zip(BUDGETS, fold(BUDGETS), strict=True))
    whole = dict(zip(BUDGETS, fold(BUDGETS, "member"), strict=True))
    with behind_the_activation():
        behind = dict(zip(BUDGETS, fold(BUDGETS), strict=True))
    with narrowed_alone(None) as widths:
        fold([BY_GROUP])
    alone = {}
    for name in list(widths):
        with narrowed_alone({name}):
            alone[name] = {"width": widths[name], **fold([BY_GROUP])[0]}
    return {
        "units of all": plain,
        "units of all, behind the ReLU": behind,
        "one member whole": whole,
        "by group": alone,
    }


if __name__ == "__main__":
    write_measured(measure, __doc__)
