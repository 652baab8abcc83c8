r"""Every matcher beside the official implementation of its method, on the same checkpoints, images
and repair.

    python benchmarks/folding/official.py --official ../align-n-merge \
        --out benchmarks/results/folding/official.json
    python benchmarks/folding/official.py --table benchmarks/results/folding/official.json

Pairs are those of study.py that know the same (same-vgg11, same-resnet20). The official code is
that of peer.py. Each fold is scored plain, with batch norms re-estimated (each code by its own
reset) and with REPAIR, which is ours for both: for the official folds too it aims at the means and
deviations of the members under the maps that the official code found. Settings are chosen on the
last held-out training images, by the mean over the pairs, for each of these columns (on ResNet-20,
which is slow, on the first pair and for REPAIR, from the first three of each method); test images
are only scored, for the chosen settings. What was measured is kept; a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from groups import GROUPS, Batches, load_batches, load_members, open_record, seeds
from official_table import table
from peer import Maps, Official
from study import accuracy
from torch import Tensor, nn

from onefold.alignment import (
    Reading,
    build_problem,
    feature_matchers,
    measure_targets,
    solve_problem,
)
from onefold.alignment.matchers import Match, StateMatcher
from onefold.fold import merge
from onefold.fold.repair import repair
from onefold.symmetry import GroupMap, SymmetrySpec, solve, trace

Settings = dict[str, Any]
OURS: dict[str, list[Settings]] = {
    "permutation": [{}],
    "weights": [{}, {"starts": 10}, {"balanced": True, "norms": "folded"}],
    "transport": [{}, {"standardized": False}, {"entropy": 0.03}],
    "zipit": [
        {"penalty": 0.3, "within": 0.125},
        {"penalty": 0.1, "within": 0.125},
        {"penalty": 1.0, "within": 0.5},
    ],
    "cca": [
        {"regularization": r, "prior": p}
        for r, p in ((10.0, 0.1), (10.0, 0.0), (1.0, 0.0), (0.3, 0.0), (10.0, 0.3), (100.0, 0.0))
    ],
}
THEIRS: dict[str, list[Settings]] = {
    "permutation": [{}],
    "weights": [{}],
    "transport": [{}],
    "zipit": [{"a": 0.3, "b": 0.125}, {"a": 0.1, "b": 0.125}, {"a": 1.0, "b": 0.5}],
    "cca": [{"gamma": gamma} for gamma in (1.0, 1e-1, 1e1, 1e2, 1e-2)],
}
PAIRS: dict[str, tuple[tuple[str, ...], ...]] = {  # beyond the study's
    "same-vgg11": (("vgg11-quarter-seed0", "vgg11-quarter-seed3"),),
    "same-resnet20": tuple(seeds("resnet20-brief", n, n + 1) for n in (6, 8, 10, 12)),
}
COLUMNS = {"REPAIR": "full", "reset": "batchnorm", "plain": "none"}


@dataclass(frozen=True)
class Given(StateMatcher):
    """The maps that the official code found, as a matcher, so that repair gets its targets as for
    any other.
    """

    found: Mapping[str, tuple[Match, ...]] = field(default_factory=dict)

    def match_states(
        self,
        spec: SymmetrySpec,
        states: Sequence[Mapping[str, Tensor]],
        reference: int | None,
        seed: int,
    ) -> dict[str, tuple[Match, ...]]:
        return dict(self.found)


def given(spec: SymmetrySpec, maps: Maps) -> Given:
    """The official maps of tensors as maps of our groups; every group must have one."""
    found = {}
    for group in spec.groups:
        produced = {slot.tensor for slot in group.slots if slot.axis == 0}
        own = next(m for name, m in maps.items() if name in produced)
        matches = [
            Match(
                GroupMap("dense", f.double(), b.double()),
                torch.ones(group.size, dtype=torch.float64),
            )
            for f, b in own
        ]
        found[group.name] = tuple(matches)
    return Given(found)


class Pair:
    """Two members and everything that is folded of them."""

    def __init__(
        self,
        network: str,
        members: list[nn.Module],
        images: Batches,
        held_out: Batches,
        checkout: Path,
    ) -> None:
        scores = [accuracy(m, held_out)["accuracy"] for m in members]
        if scores[1] > scores[0]:  # the reference is the better one, as in study.py
            members.reverse()
        self.members, self.images, self.data = members, images, [x for x, _ in images]
        self.traced = trace(members[0], (self.data[0],))
        self.spec = solve(self.traced)
        self.problem = build_problem(
            members, self.data, Reading(every=True), spec=self.spec, traced=self.traced
        )
        self.official = Official(checkout, network, members, images)

    def fold(self, code: str, method: str, settings: Settings, column: str) -> nn.Module:
        """One folded network."""
        if code == "onefold":
            alignment = solve_problem(self.problem, feature_matchers.get(method)(**settings))
            return merge(
                self.members, self.data, align=alignment, repair=COLUMNS[column], fold="average"
            ).model
        folded, maps, _ = self.official.merge(method, **settings)
        if column == "reset":
            return self.official.reset(folded)
        if column == "REPAIR":
            alignment = solve_problem(self.problem, given(self.spec, maps))
            targets = measure_targets(
                self.members, self.data, alignment, spec=self.spec, traced=self.traced
            )
            repair(folded, self.data, self.spec, targets.layers, traced=self.traced)
        return folded


def run(
    name: str,
    checkout: Path,
    own: dict[str, Any],
    save: Callable[[], None],
    arguments: argparse.Namespace,
) -> None:
    """One group of pairs: all settings on held-out images first, then the chosen ones on the test
    images.
    """
    group = GROUPS[name]
    sets = [*group.sets, *PAIRS[name]]
    images, held_out, test = load_batches(group, arguments.data, arguments.images, size=100)
    pairs = {
        " ".join(files): Pair(
            group.network, load_members(group, files, arguments.members), images, held_out, checkout
        )
        for files in sets
    }
    columns = [c for c in COLUMNS if c != "reset" or pairs[" ".join(sets[0])].spec.norms]
    for column in columns:
        for method in OURS:
            for code, candidates in (("onefold", OURS[method]), ("official", THEIRS[method])):
                by = "REPAIR" if "reset" in columns else column
                candidates = candidates[:3] if "reset" in columns else candidates
                measured = own.setdefault("held out", {}).setdefault(f"{method}, {by}, {code}", {})
                for setting in candidates if len(candidates) > 1 else ():
                    scores = measured.setdefault(str(setting), {})
                    for key in [
                        key
                        for key in list(pairs)[: 1 if "reset" in columns else None]
                        if key not in scores
                    ]:
                        try:
                            scores[key] = accuracy(
                                pairs[key].fold(code, method, setting, by), held_out
                            )["accuracy"]
                        # decompositions of nearly singular covariances fail in the official code
                        except torch.linalg.LinAlgError:
                            scores[key] = 0.0
                    save()
                chosen = (
                    max(candidates, key=lambda s: statistics.mean(measured[str(s)].values()))
                    if len(candidates) > 1
                    else candidates[0]
                )
                final = own.setdefault("test", {}).setdefault(f"{method}, {column}, {code}", {})
                if final.get("setting") != chosen or set(final["accuracy"]) != set(pairs):
                    final["setting"] = chosen
                    final["accuracy"] = {
                        key: accuracy(pair.fold(code, method, chosen, column), test)["accuracy"]
                        for key, pair in pairs.items()
                    }
                    save()
                mean = statistics.mean(final["accuracy"].values())
                print(
                    f"{name:<14} {method:<12} {column:<7} {code:<9} {mean:6.2f} "
                    f" {list(final['accuracy'].values())} {chosen}",
                    flush=True,
                )
    for key, pair in pairs.items():
        row = own.setdefault("pairs", {}).setdefault(key, {})
        if "members" not in row:
            row["members"] = [accuracy(m, test)["accuracy"] for m in pair.members]
            row["ensemble"] = accuracy(pair.members, test)["accuracy"]
            save()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", choices=[*PAIRS, []])
    parser.add_argument("--official", type=Path, help="checkout of the authors' code")
    parser.add_argument("--members", type=Path, default=Path("members"))
    parser.add_argument("--data", default=os.environ.get("ONEFOLD_DATA", "../shared/data"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("official.json"))
    parser.add_argument("--table", type=Path, help="only print this record as Markdown")
    arguments = parser.parse_args()
    if arguments.table is not None:
        print("\n".join(table(json.loads(arguments.table.read_text()))))
        return
    if arguments.official is None:
        parser.error("pass --official, a checkout of github.com/shoroi/align-n-merge")
    torch.set_num_threads(1)
    record, save = open_record(arguments.out)
    for name in arguments.groups or list(PAIRS):
        run(
            name,
            arguments.official,
            record.setdefault(name, {"images": arguments.images}),
            save,
            arguments,
        )


if __name__ == "__main__":
    main()
