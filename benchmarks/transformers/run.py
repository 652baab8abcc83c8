"""Fold pairs of transformers and recurrent networks that were trained from different seeds:
everything onefold offers, beside members and ensemble.

    OUT=benchmarks/results/transformers/results.json
    python benchmarks/transformers/run.py vit bert prenorm lstm --out $OUT
    python benchmarks/transformers/run.py vit bert prenorm lstm --solve --out $OUT    least squares

Members are those of tasks.py, trained where they are missing. Each pair is folded from 2,000
unlabelled training examples. Settings are chosen on held-out examples, one for each task and
method; test examples are only scored. "kept" is how much of the way from the plain average to the
weaker member a fold goes: 100 % is as good as the weaker member. Barriers are accuracies at eleven
points of the line from the first member to the second, as it is or mapped onto the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tasks import TASKS, Split, Task, accuracy, members, task
from torch import Tensor, nn

import onefold
from onefold.alignment import (
    Alignment,
    AlignmentProblem,
    Reading,
    build_problem,
    feature_matchers,
    solve_problem,
)
from onefold.fold import LeastSquares, Polish

CALIBRATION = 2000  # examples
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "permutation": [{}],
    "rotation": [{"prior": prior} for prior in (0.0, 0.1, 0.3)],
    "procrustes": [{"prior": prior} for prior in (0.0, 0.1, 0.3)],
    "cca": [
        {"regularization": ridge, "prior": prior}
        for ridge in (0.1, 1.0, 10.0)
        for prior in (0.0, 0.1)
    ],
}
REPAIRS = ("none", "full")


@torch.no_grad()
def ensemble(networks: Sequence[nn.Module], split: Split) -> float:
    """Accuracy in percent of the mean of the members' probabilities."""
    hits = 0
    for batch in split.batches():
        labels = batch.pop("labels")
        hits += int(
            (
                torch.stack([n(**batch).softmax(-1) for n in networks]).mean(0).argmax(1) == labels
            ).sum()
        )
    return 100 * hits / len(split)


def alignments(
    pair: list[nn.Module], data: Any
) -> Iterator[tuple[str, dict[str, Any], Alignment | str, AlignmentProblem | None]]:
    """Every way of aligning the second member to the first, none at all among them, with its
    settings.
    """
    yield "none", {}, "none", None
    whole: AlignmentProblem | None = None
    for method, settings in CANDIDATES.items():
        if method == "permutation":
            problem = build_problem(pair, data, Reading(full=False))
        else:
            problem = whole = whole or build_problem(pair, data, Reading(full=True))
        for setting in settings:
            yield (
                method,
                setting,
                solve_problem(problem, feature_matchers.get(method)(**setting)),
                problem,
            )


def fold(pair: list[nn.Module], own: Task, data: Any) -> dict[str, dict[str, Any]]:
    """Scores on held-out and test examples of every fold of one pair, by method, repair and
    setting.
    """
    found: dict[str, dict[str, Any]] = {}
    for method, setting, alignment, _ in alignments(pair, data):
        for repair in REPAIRS:
            result = onefold.merge(pair, data, align=alignment, repair=repair, fold="average")
            row = {
                "held out": accuracy(result.model, own.held_out),
                "test": accuracy(result.model, own.test),
            }
            if isinstance(alignment, Alignment) and repair == "none":
                row["mapped member, test"] = accuracy(alignment.apply(pair)[1], own.test)
            found[f"{method}, {repair}, {json.dumps(setting)}"] = row
    return found


def solved(
    pair: list[nn.Module], own: Task, data: Any, recurrent: bool
) -> dict[str, dict[str, Any]]:
    """Scores of least squares with either target after every alignment that serves such a network,
    and of distilling the ensemble into the first member with the same examples.
    """
    found: dict[str, dict[str, Any]] = {}
    for target in ("correlation", "pruning"):
        for method in ("permutation", "cca" if recurrent else "rotation"):
            result = onefold.merge(pair, data, align=method, fold=LeastSquares(target=target))
            scores = {
                "held out": accuracy(result.model, own.held_out),
                "test": accuracy(result.model, own.test),
            }
            found[f"least squares, {target}, {json.dumps({'align': method})}"] = scores
    best = max(pair, key=lambda m: accuracy(m, own.held_out))
    for rate in (1e-4, 3e-4):
        model = onefold.fold.polish(best, pair, data, Polish(passes=3, lr=rate)).model
        scores = {"held out": accuracy(model, own.held_out), "test": accuracy(model, own.test)}
        found[f"distillation, 3 passes, {json.dumps({'lr': rate})}"] = scores
    return found


def lerp(a: nn.Module, b: nn.Module, share: float, own: Task) -> nn.Module:
    """A network on the line between two."""
    model = own.build().eval()
    others = b.state_dict()
    mixed: dict[str, Tensor] = {
        n: torch.lerp(v, others[n], share) if v.is_floating_point() else v
        for n, v in a.state_dict().items()
    }
    model.load_state_dict(mixed)
    return model


def curve(a: nn.Module, b: nn.Module, own: Task) -> list[float]:
    """Test accuracy at eleven points of the line."""
    return [round(accuracy(lerp(a, b, k / 10, own), own.test), 2) for k in range(11)]


def chosen(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, str]:
    """For each method and repair the setting with the best mean accuracy on held-out examples."""
    best: dict[str, tuple[float, str]] = {}
    for key in pairs[0]:
        kind = ", ".join(key.split(", ")[:2])
        score = statistics.mean(pair[key]["held out"] for pair in pairs)
        if kind not in best or score > best[kind][0]:
            best[kind] = score, key
    return {kind: key for kind, (_, key) in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--members", type=Path, default=Path("members/transformers"))
    parser.add_argument(
        "--solve",
        action="store_true",
        help="add least squares and distillation to the record, and measure nothing else",
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name in arguments.tasks:
        start, own = time.perf_counter(), task(name)
        every = members(name, own, arguments.seeds, arguments.members)
        tests = [accuracy(m, own.test) for m in every]
        data = own.train[slice(0, CALIBRATION)].batches(labels=False)
        numbers = [(k, (k + 1) % len(every)) for k in range(len(every))]
        if arguments.solve:
            pairs = [solved([every[i], every[j]], own, data, "lstm" in name) for i, j in numbers]
            for kind, key in chosen(pairs).items():
                record[name]["settings"][kind], record[name]["folds"][kind] = (
                    key,
                    [pair[key] for pair in pairs],
                )
                print(
                    f"{name}  {kind}: {[round(pair[key]['test'], 2) for pair in pairs]}",
                    key,
                    flush=True,
                )
            arguments.out.write_text(json.dumps(record, indent=1) + "\n")
            continue
        pairs = [fold([every[i], every[j]], own, data) for i, j in numbers]
        settings = chosen(pairs)
        rows = {kind: [pair[key] for pair in pairs] for kind, key in settings.items()}
        curves: dict[str, list[list[float]]] = {}
        for method in ("none", "permutation", "rotation", "procrustes", "cca"):
            wanted = json.loads(settings[f"{method}, none"].split(", ", 2)[2])
            for i, j in numbers:
                ends: list[nn.Module] = [every[i], every[j]]
                for kind, setting, alignment, _ in alignments(ends, data):
                    if kind == method and setting == wanted:
                        ends = alignment.apply(ends) if isinstance(alignment, Alignment) else ends
                        curves.setdefault(method, []).append(curve(ends[0], ends[1], own))
                        break
        record[name] = {
            "members": {
                "held out": [round(accuracy(m, own.held_out), 2) for m in every],
                "test": [round(t, 2) for t in tests],
            },
            "pairs": numbers,
            "ensemble": [round(ensemble([every[i], every[j]], own.test), 2) for i, j in numbers],
            "settings": settings,
            "folds": rows,
            "curves": curves,
            "parameters": sum(p.numel() for p in every[0].parameters()),
            "seconds": round(time.perf_counter() - start),
        }
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
        print(name, record[name]["members"], record[name]["ensemble"], flush=True)
        for kind, own_rows in rows.items():
            print(
                f"  {kind}: {[round(r['test'], 2) for r in own_rows]}", settings[kind], flush=True
            )


if __name__ == "__main__":
    main()
