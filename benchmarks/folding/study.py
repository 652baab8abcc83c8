r"""Does folding pay?

Every way to make one network of several, on the same members and unlabelled images, beside members,
ensemble and distillation.

    OUT=benchmarks/results/folding/study.json
    python benchmarks/folding/study.py same-vgg11 halves-vgg11 dirichlet-vgg11 same-resnet20 \
        --out $OUT
    python benchmarks/folding/study.py many-halves many-dirichlet many-same images --out $OUT
    python benchmarks/folding/study.py halves-vgg11-8000 dirichlet-vgg11-8000 \
        --methods permutation --targets "pruning, probabilities" \
        --teaching probabilities --passes 3 --views 10 --out $OUT
    python benchmarks/folding/study.py halves-vgg11-8000 dirichlet-vgg11-8000 \
        --methods permutation --targets "pruning, classes" --teaching classes --passes 3 --out $OUT
    python benchmarks/folding/study.py --quick --out quick.json      one pair, a few minutes

Members are those of benchmarks/members/brief.py. "same": other seeds on the same images. "halves":
each saw 80 % of the images of five classes and 20 % of the others. "dirichlet": the images of every
class are shared out by Dirichlet(0.5). The anchor is the member that is best on held-out training
images, and so are ridge, prior and every other setting chosen there, once for all pairs of a group.
Test images, all 10,000, are only scored. Distillation has the same images, passes and views (new
shifts and flips in each pass) as the polish of a fold. What was measured is kept in the record; a
stopped run goes on. "classes": the members' answers are pooled by what each saw of a class
(`onefold.class_pool`), which is estimated from the same images without labels; beside it stand the
best member with its own answers balanced, and distillation from there.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from groups import GROUPS, Batches, Views, load_batches, load_members, open_record, shifted
from torch import nn

import onefold
from onefold.alignment import (
    Alignment,
    AlignmentProblem,
    Reading,
    build_problem,
    feature_matchers,
    solve_problem,
)
from onefold.fold import polish

ALIGNMENTS: dict[str, list[dict[str, Any]]] = {
    "none": [{}],
    "permutation": [{}],
    "procrustes": [{"prior": 0.0}],
    "cca": [
        {"regularization": 1.0, "prior": 0.0},
        {"regularization": 10.0, "prior": 0.0},
        {"regularization": 10.0, "prior": 0.1},
    ],
    "weights": [{}],
    "transport": [{}],
    "zipit": [{}],
}
# Of least squares, after alignment by permutation: its target, what its outputs aim at, and the
# weight of the best member (None: all are equal).
TARGETS: dict[str, tuple[str, str, float | None]] = {
    "equal": ("equal", "logits", None),
    "correlation": ("correlation", "logits", None),
    "selection": ("selection", "logits", None),
    "pruning": ("pruning", "logits", None),
    "pruning, anchor 0.7": ("pruning", "logits", 0.7),
    "pruning, probabilities": ("pruning", "probabilities", None),
    "pruning, classes": ("pruning", "classes", None),
    "pruning, probabilities, anchor 0.7": ("pruning", "probabilities", 0.7),
}
PASSES = (3, 10)
# The rate of Adam and what is distilled, for polish and for distillation into the best member
# alike: on the images, and on their views.
TEACHING = {
    "slow": (1e-4, "logits"),
    "fast": (3e-4, "logits"),
    "probabilities": (3e-4, "probabilities"),
    "classes": (3e-4, "classes"),
}
VIEWED = {"probabilities": (1e-3, "probabilities"), "classes": (1e-3, "classes")}


def accuracy(
    model: nn.Module | Sequence[nn.Module], data: Batches, ensemble: Any = "probabilities"
) -> dict[str, float]:
    """Accuracy in percent and NLL in nats; of several networks, of the mean of their probabilities
    or another ensemble.
    """
    models = [
        copy.deepcopy(m).to(memory_format=torch.channels_last)
        for m in ([model] if isinstance(model, nn.Module) else model)
    ]
    scores = onefold.evaluate(
        models[0] if isinstance(model, nn.Module) else models, data, ensemble=ensemble
    )
    return {"accuracy": round(100 * scores.accuracy, 2), "nll": round(scores.nll, 4)}


class Study:
    """One set of members: folds made and scored one after the other, each once."""

    def __init__(
        self,
        members: list[nn.Module],
        images: Batches,
        held_out: Batches,
        test: Batches,
        record: dict[str, Any],
        save: Callable[[], None],
    ):
        self.images, self.held_out, self.test, self.record, self.save = (
            [x for x, _ in images],
            held_out,
            test,
            record,
            save,
        )
        known = record.setdefault("members", [])
        if not known:
            known += [
                {"held out": accuracy(m, held_out), "test": accuracy(m, test)} for m in members
            ]
        best = max(range(len(members)), key=lambda k: known[k]["held out"]["accuracy"])
        self.members = [members[best], *members[:best], *members[best + 1 :]]
        record["best"] = best
        self.alignments: dict[str, Alignment] = {}
        self.problem: dict[bool, AlignmentProblem] = {}
        self.kept: dict[str, tuple[Callable[[], nn.Module], nn.Module | None]] = {}
        self.spec = onefold.find_symmetries(members[0], self.images[0])
        self.pool = onefold.class_pool(self.members, self.images)  # from the images, without labels

    def score(self, name: str, make: Callable[[], nn.Module]) -> nn.Module | None:
        """Make and score a fold, unless that was done before."""
        rows = self.record.setdefault("folds", {})
        if name in rows:
            return None
        start = time.perf_counter()
        model = make()
        seconds = time.perf_counter() - start
        rows[name] = {
            "held out": accuracy(model, self.held_out),
            "test": accuracy(model, self.test),
            "seconds": round(seconds, 2),
        }
        print(
            f"  {name:<44} {rows[name]['held out']['accuracy']:6.2f}"
            f" {rows[name]['test']['accuracy']:6.2f}  {seconds:5.1f} s",
            flush=True,
        )
        self.save()
        return model

    def aligned(self, method: str, setting: dict[str, Any]) -> Alignment:
        """The alignment, computed once; for all settings of a matcher from one pass over the
        images.
        """
        key = f"{method} {setting}"
        if key not in self.alignments:
            matcher = feature_matchers.get(method)(**setting)
            if method in ("permutation", "procrustes", "cca"):
                if matcher.covariances not in self.problem:
                    self.problem[matcher.covariances] = build_problem(
                        self.members, self.images, Reading(full=matcher.covariances), spec=self.spec
                    )
                self.alignments[key] = solve_problem(self.problem[matcher.covariances], matcher)
            else:
                self.alignments[key] = onefold.align(
                    self.members, self.images, method=matcher, spec=self.spec
                )
        return self.alignments[key]

    def merged(self, method: str, setting: dict[str, Any], **options: Any) -> nn.Module:
        alignment = "none" if method == "none" else self.aligned(method, setting)
        return onefold.merge(
            self.members, self.images, align=alignment, **{"fold": "average", **options}
        ).model

    def run(
        self,
        methods: Sequence[str],
        targets: Sequence[str],
        teaching: Sequence[str],
        passes: Sequence[int],
        views: Sequence[int],
    ) -> None:
        """Everything."""
        if "ensemble" not in self.record:
            self.record["ensemble"] = {
                "held out": accuracy(self.members, self.held_out),
                "test": accuracy(self.members, self.test),
            }
        # The ensemble that weights each member by what it saw, and the best member's own answers,
        # balanced.
        if "pooled by class" not in self.record:
            alone = onefold.class_pool(self.members[:1], self.images)
            for name, own, pool in (
                ("pooled by class", self.members, self.pool),
                ("best member, balanced", self.members[:1], alone),
            ):
                self.record[name] = {
                    "held out": accuracy(own, self.held_out, pool),
                    "test": accuracy(own, self.test, pool),
                }
        for method in ("none", *methods):
            for setting in ALIGNMENTS[method]:
                label = " ".join([method, *(f"{name}={value}" for name, value in setting.items())])
                for repair in ("none", "full") if len(ALIGNMENTS[method]) == 1 else ("full",):
                    title = f"{label}, {'repair' if repair == 'full' else 'no repair'}"
                    self.score(title, partial(self.merged, method, setting, repair=repair))
        rows = max(20000, 5 * sum(len(x) for x in self.images))
        for kind in targets:
            target, ensemble, anchor = TARGETS[kind]
            others = len(self.members) - 1
            weights = None if anchor is None else [anchor, *[(1 - anchor) / others] * others]
            make = partial(
                self.merged,
                "permutation",
                {},
                fold="least_squares",
                target=target,
                ensemble=ensemble,
                weights=weights,
                rows=rows,
            )
            self.kept[f"least squares, {kind}"] = make, self.score(f"least squares, {kind}", make)
        start = max(self.kept, key=lambda name: self.record["folds"][name]["held out"]["accuracy"])
        make, folded = self.kept[start]
        plain = [(count, *TEACHING[name], False) for count in passes for name in teaching]
        for count, rate, mean, viewed in plain + [
            (count, *VIEWED[name], True) for count in views for name in teaching if name in VIEWED
        ]:
            suffix = ("" if mean == "logits" else f" {mean}") + (" views" if viewed else "")
            title = f"least squares, polish {count} lr={rate}{suffix}"
            if self.record["folds"].get(title, {}).get("start") != start:
                self.record["folds"].pop(title, None)
                folded = folded or make()
                self.score(
                    title,
                    partial(self.taught, folded, viewed, passes=count, lr=rate, ensemble=mean),
                )
                self.record["folds"][title]["start"] = start
            title = f"distillation lr={rate}{suffix}, {count} passes"
            self.score(
                title,
                partial(self.taught, self.members[0], viewed, passes=count, lr=rate, ensemble=mean),
            )
            if (
                mean == "classes" and not viewed
            ):  # a better start, which knows of the best member alone
                balanced = shifted(
                    self.members[0], onefold.class_pool(self.members[:1], self.images).shifts[0]
                )
                title = f"balanced, then {title}"
                self.score(
                    title,
                    partial(self.taught, balanced, viewed, passes=count, lr=rate, ensemble=mean),
                )

    def taught(self, network: nn.Module, viewed: bool, **options: Any) -> nn.Module:
        options["ensemble"] = self.pool if options["ensemble"] == "classes" else options["ensemble"]
        return polish(
            network, self.members, Views(self.images) if viewed else self.images, **options
        ).model


def summary(name: str, sets: list[dict[str, Any]]) -> None:
    """Print the means over the sets, best on held-out images first."""
    print(
        f"{name}: best member"
        f" {statistics.mean(s['members'][s['best']]['test']['accuracy'] for s in sets):.2f}, ",
        end="",
    )
    print(f"ensemble {statistics.mean(s['ensemble']['test']['accuracy'] for s in sets):.2f}")
    rows = {
        fold: [s["folds"][fold] for s in sets]
        for fold in sets[0]["folds"]
        if all(fold in s["folds"] for s in sets)
    }
    for fold, own in sorted(
        rows.items(), key=lambda r: -statistics.mean(x["held out"]["accuracy"] for x in r[1])
    )[:8]:
        print(f"  {fold:<44} {statistics.mean(x['test']['accuracy'] for x in own):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, "images", []])
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["permutation", "procrustes", "cca", "weights", "transport", "zipit"],
    )
    parser.add_argument(
        "--targets",
        nargs="+",
        default=list(TARGETS),
        choices=list(TARGETS),
        help="of least squares",
    )
    parser.add_argument("--teaching", nargs="+", default=list(TEACHING), choices=list(TEACHING))
    parser.add_argument("--passes", type=int, nargs="*", default=PASSES, help="of distillation")
    parser.add_argument(
        "--views",
        type=int,
        nargs="*",
        default=(),
        help="passes of distillation on shifted and flipped images, new ones in each",
    )
    parser.add_argument("--members", type=Path, default=Path("members"))
    parser.add_argument("--data", default=os.environ.get("ONEFOLD_DATA", "../shared/data"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record, save = open_record(arguments.out)

    for name in arguments.groups or (["halves-vgg11"] if arguments.quick else list(GROUPS)):
        if (
            name == "images"
            # accuracy against the number of unlabelled images, on one pair that knows
            # different things
        ):
            group = GROUPS["halves-vgg11"]
            sets, counts = group.sets[:1] * 4, (250, 500, 1000, 4000)
        else:
            group = GROUPS[name]
            sets = group.sets[:1] if arguments.quick else group.sets
            counts = (500 if arguments.quick else group.images,) * len(sets)
        passes = (3,) if arguments.quick else arguments.passes
        for files, count in zip(sets, counts, strict=True):
            if missing := [
                file for file in files if not (arguments.members / f"{file}.safetensors").exists()
            ]:
                print(
                    f"{name}: {', '.join(missing)} not in {arguments.members}; train them by"
                    " benchmarks/members/brief.py",
                    flush=True,
                )
                continue
            key = f"{' '.join(files)} on {count} images"
            print(name, key, flush=True)
            own = record.setdefault(name, {}).setdefault(key, {"files": files, "images": count})
            parts = load_batches(group, arguments.data, count, quick=arguments.quick)
            Study(load_members(group, files, arguments.members), *parts, own, save).run(
                arguments.methods, arguments.targets, arguments.teaching, passes, arguments.views
            )
        if record.get(name):
            summary(name, list(record[name].values()))


if __name__ == "__main__":
    main()
