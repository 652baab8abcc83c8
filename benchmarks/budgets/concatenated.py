"""The members side by side as one network, narrowed by Torch-Pruning to a budget.

    python -m benchmarks.budgets.concatenated --group halves --budgets 1.5x 2x

Side by side the members are one network of K times the width whose outputs are the ensemble's mean
of logits; `onefold.fold_to_budgets` returns it where nothing is taken out. Torch-Pruning narrows it
by each of the criteria in `CRITERIA`. The statistics of its batch norms are then measured anew on
the unlabelled images, as for `onefold` in docs/evidence/pruning.md, and the criterion that is best
on labelled held-out images is scored on the test images, as it is and after the polish of
`benchmarks.budgets.run`. Rows are added to the file of the group's folds.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import onefold
from benchmarks.budgets.run import IMAGES, first, interval, members_of, polish, row
from benchmarks.common.data import REPOSITORY
from benchmarks.common.groups import Group, onefold_groups
from benchmarks.default.record import keep, kept
from benchmarks.evidence.budgets import PEER
from benchmarks.pruning.cost import multiply_adds
from benchmarks.pruning.methods import Task
from benchmarks.pruning.torch_pruning_peer import pruned
from onefold.fold import fold_to_budgets
from onefold.measure.paired import difference

CRITERIA = (("magnitude", False), ("magnitude", True), ("group norm", False), ("group norm", True))
RESULTS = REPOSITORY / "benchmarks" / "results" / "budgets"


def narrowed(wide: nn.Module, budget: float, group: Group) -> tuple[nn.Module, dict[str, float]]:
    """The network of the criterion that is best on held-out images, and all their accuracies.

    wide: the members side by side. budget: multiply-adds that are allowed.
    """
    data, held = group.unlabelled(IMAGES), group.choices().batches()
    example = data[0][:1]
    share = budget / multiply_adds(wide, example)
    networks, reached = {}, {}
    for criterion, everywhere in CRITERIA:
        name = f"{criterion}, {'global' if everywhere else 'local'}"
        found = pruned(Task(wide, data, [], example, share), criterion, everywhere)
        onefold.recalibrate(found, data)
        networks[name] = found.eval()
        reached[name] = round(100 * onefold.evaluate(found, held).accuracy, 2)
        print(f"{name}: {reached[name]} on held-out images", flush=True)
    return networks[max(reached, key=lambda name: reached[name])], reached


def measure(group: Group, budgets: Sequence[str], polished: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each budget."""
    models, data, test = group.models(), group.unlabelled(IMAGES), group.test().batches()
    best, own, ensemble = members_of(group, models, test)
    method = onefold.LeastSquares(ensemble="logits")
    (whole,) = fold_to_budgets(models, data, [f"{len(models) ** 2}x"], method=method)
    wide = copy.deepcopy(whole.model).eval()
    one = multiply_adds(best, data[0][:1])
    alone = polish(best, group, models, test)[0] if polished else None
    rows = []
    for budget in budgets:
        start = time.process_time()
        network, reached = narrowed(wide, float(budget.rstrip("x")) * one, group)
        scores, cost = onefold.evaluate(network, test), multiply_adds(network, data[0][:1]) / one
        found: dict[str, Any] = {
            "budget": budget,
            "criteria, held out": reached,
            "seconds of all criteria": round(time.process_time() - start, 1),
            **row(scores, own, ensemble, cost),
        }
        if budget in polished and alone is not None:
            after, setting = polish(network, group, models, test)
            gain = interval(difference(after, alone))
            found["polished"] = row(after, own, ensemble, cost) | {
                "over the best member polished": gain,
                "polish": setting,
            }
        print(json.dumps(found), flush=True)
        rows.append(found)
    return rows


def main() -> None:
    """Measure one group, and add the rows to its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--group", default="halves", choices=sorted(onefold_groups(trained=False)))
    parser.add_argument("--members", type=int, help="the first so many members alone")
    parser.add_argument("--budgets", nargs="+", default=["1.5x", "2x"])
    parser.add_argument("--polished", nargs="*", default=["1.5x", "2x"])
    parser.add_argument("--out", type=Path, help="default: the file of the group's folds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    group = first(onefold_groups(trained=False)[given.group], given.members)
    rows = measure(group, given.budgets, given.polished)
    out = given.out or RESULTS / f"{given.group}.json"
    keep({**kept(out), PEER: rows}, out)


if __name__ == "__main__":
    main()
