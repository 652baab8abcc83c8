"""Folds of one group of members to several budgets, beside the best member and the ensemble.

    python -m benchmarks.budgets.run --group halves --out benchmarks/results/budgets/halves.json

Everything is fitted on 4,000 unlabelled training images that no member has seen. The best member is
the one that is best on 5,000 labelled held-out images. The test images give the figures alone.
Polish distils the ensemble of logits into a network on the 4,000 images, by the setting that is the
best on the labelled held-out images, for the best member and each fold alike. Differences are
paired, image by image, with the interval of 1.96 standard errors.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import onefold
from benchmarks.common.groups import Group, onefold_groups
from benchmarks.default.record import keep, kept
from benchmarks.evidence.budgets import PEER
from onefold.batches import Batch
from onefold.fold import fold_to_budgets
from onefold.measure.paired import difference
from onefold.tasks.scores import Scores
from onefold.widths.costs import multiply_adds

BUDGETS = ("1x", "1.25x", "1.5x", "2x", "3x", "4x")
IMAGES = 4000
POLISHES = {  # see docs/evidence/polish.md
    "3 passes at 1e-4": onefold.Polish(passes=3),
    "10 passes at 3e-4": onefold.Polish(passes=10, lr=3e-4, batchnorm="reestimate"),
    "10 passes at 1e-3": onefold.Polish(passes=10, lr=1e-3, batchnorm="reestimate"),
}
LEVEL = 1.96


def measure(
    group: Group, budgets: Sequence[str], polished: Sequence[str], out: Path | None = None
) -> dict[str, Any]:
    """The curve of one group as plain data, written to `out` after every row.

    The rows that `concatenated.py` added to the file stay.

    Args:
        group: the members and their data.
        budgets: what is folded to.
        polished: the budgets whose folds are polished, too.
        out: a file of JSON.
    """
    models, data, test = group.models(), group.unlabelled(IMAGES), group.test().batches()
    best, own, ensemble = members_of(group, models, test)
    result: dict[str, Any] = {
        **{key: rows for key, rows in (kept(out) if out else {}).items() if key == PEER},
        "group": group.name,
        "network": group.network,
        "members": [round(100 * a, 2) for a in group_accuracies(models, test)],
        "best member": row(own, own, ensemble, 1.0),
        "ensemble": row(ensemble, own, ensemble, float(len(models))),
        "points": [],
    }
    start = time.process_time()
    method = onefold.LeastSquares(ensemble="logits")
    folds = fold_to_budgets(models, data, budgets, method=method)
    result["seconds of all folds"] = round(time.process_time() - start, 1)
    one = multiply_adds(best, Batch((data[0],)))
    for budget, fold in zip(budgets, folds, strict=True):
        cost = multiply_adds(fold.model, Batch((data[0],))) / one
        point = {
            "budget": budget,
            "parameters": round(fold.report.folded["factors"]["parameters"], 3),
            "keep": fold.report.folded["keep"],
            "distances": fold.report.folded["distances"],
            **row(onefold.evaluate(fold.model, test), own, ensemble, cost),
        }
        result["points"].append(point)
        print(json.dumps(point), flush=True)
        told(result, out)
    if not polished:
        return result
    alone, setting = polish(best, group, models, test)
    result["best member, polished"] = row(alone, own, ensemble, 1.0) | {"polish": setting}
    for point, fold in zip(result["points"], folds, strict=True):
        if point["budget"] in polished:
            scores, setting = polish(fold.model, group, models, test)
            gain = interval(difference(scores, alone))
            point["polished"] = row(scores, own, ensemble, point["multiply-adds"]) | {
                "over the best member polished": gain,
                "polish": setting,
            }
            print(json.dumps(point), flush=True)
            told(result, out)
    return result


def first(group: Group, count: int | None) -> Group:
    """The group of the first so many members; None: of all."""
    return Group(group.name, group.network, group.members[:count], group.known)


def told(result: dict[str, Any], out: Path | None) -> None:
    """Write what was found so far."""
    if out is not None:
        keep(result, out)


def members_of(
    group: Group, models: Sequence[nn.Module], test: Any
) -> tuple[nn.Module, Scores, Scores]:
    """The member that is best on held-out images, its test scores and the ensemble's."""
    held = [onefold.evaluate(model, group.choices().batches()).accuracy for model in models]
    best = models[held.index(max(held))]
    whole = onefold.evaluate(models, test, ensemble="logits")
    return best, onefold.evaluate(best, test), whole


def polish(
    network: nn.Module, group: Group, models: Sequence[nn.Module], test: Any
) -> tuple[Scores, str]:
    """The test scores of a network after polish by the setting that held-out labels choose."""
    held, data = group.choices().batches(), group.unlabelled(IMAGES)
    done = {
        name: onefold.polish(network, models, data, setting).model
        for name, setting in POLISHES.items()
    }
    best = max(done, key=lambda name: onefold.evaluate(done[name], held).accuracy)
    return onefold.evaluate(done[best], test), best


def group_accuracies(models: Sequence[nn.Module], test: Any) -> list[float]:
    """The accuracy of each member."""
    return [onefold.evaluate(model, test).accuracy for model in models]


def row(scores: Scores, best: Scores, ensemble: Scores, cost: float) -> dict[str, Any]:
    """A network's figures in percent and points."""
    gain = difference(scores, best)
    whole = ensemble.accuracy - best.accuracy
    return {
        "accuracy": round(100 * scores.accuracy, 2),
        "loss": round(scores.nll, 4),
        "multiply-adds": round(cost, 3),
        "over the best member": interval(gain),
        "share of the ensemble's gain": round(gain.gain / whole, 3) if whole else None,
    }


def interval(gain: Any) -> list[float]:
    """A difference in points, and the ends of its interval."""
    points, half = 100 * gain.gain, 100 * LEVEL * gain.error
    return [round(points, 2), round(points - half, 2), round(points + half, 2)]


def main() -> None:
    """Measure one group, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", default="halves", choices=sorted(onefold_groups(trained=False)))
    parser.add_argument("--members", type=int, help="the first so many members alone")
    parser.add_argument("--budgets", nargs="+", default=list(BUDGETS))
    parser.add_argument("--no-polish", action="store_true")
    parser.add_argument("--polished", nargs="*", help="polish these budgets alone")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    group = onefold_groups(trained=False)[given.group]
    group = first(group, given.members)
    torch.set_num_threads(1)
    polished = given.budgets if given.polished is None else given.polished
    result = measure(group, given.budgets, [] if given.no_polish else polished, given.out)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
