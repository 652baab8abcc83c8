r"""Members that know different things, of one origin or none, and members that know the same.

Those that know different things each lack two of ten classes.

    python benchmarks/soft/knowledge.py smallcnn --members members \
        --out benchmarks/results/soft/knowledge-smallcnn.json

Gates are learned from 500 labelled held-out images. Every level has a few candidate settings; the
one with the best mean over the groups on the other held-out images is taken, and the test images
see only that one. For members that know different things the network to return is chosen on a part
of the 500 images as well; for those that know the same, on the other held-out images. Beside it:
members, ensemble, average, aligned average (permutation and CCA, repaired), and distillation of the
ensemble into the best member with the same 500 images.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import (
    GROUPS,
    NETWORKS,
    Batches,
    accuracy,
    honest,
    in_two,
    lacking,
    numbered,
    origin,
    parts,
    recorded,
    siblings,
)
from torch import nn

import onefold
from onefold.errors import OnefoldError

CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "model": [
        {"outputs": o, "penalty": p} for o in ("logits", "probabilities") for p in (0.01, 0.001)
    ],
    "module": [
        {"normalize": True},
        {"normalize": True, "modules": "body and head"},
        {"normalize": False},
    ],
    "layer": [{"normalize": True}, {"normalize": False}],
}
KINDS = {"different": lacking, "siblings": siblings, "same": honest}
FIT = ("penalty", "steps", "batch_size")


def distilled(members: list[nn.Module], labelled: Batches, choose: Batches) -> nn.Module:
    """The ensemble's probabilities taught to the best member in ten passes over the labelled
    images; the rate is chosen on held-out images.
    """
    inputs, labels = torch.cat([x for x, _ in labelled]), torch.cat([y for _, y in labelled])
    with torch.no_grad():
        targets = torch.stack(
            [torch.cat([m(x) for x, _ in labelled]).softmax(1) for m in members]
        ).mean(0)
    best = max(members, key=lambda m: accuracy(m, labelled))
    students = []
    for rate in (1e-4, 1e-3):
        student = copy.deepcopy(best)
        optimiser = torch.optim.Adam(student.parameters(), rate)
        generator = torch.Generator().manual_seed(0)
        for _ in range(10):
            for index in torch.randperm(len(labels), generator=generator).split(64):
                student.train()
                loss = F.cross_entropy(student(inputs[index]), targets[index])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        students.append(student.eval())
    return max(students, key=lambda s: accuracy(s, choose))


def averages(members: list[nn.Module], labelled: Batches) -> dict[str, nn.Module]:
    """The plain average, and the averages after alignment, repaired."""
    best = max(range(len(members)), key=lambda k: accuracy(members[k], labelled))
    found = {"average": onefold.merge(members, align="none", repair="none", fold="average").model}
    for method in ("permutation", "cca"):
        try:
            found[f"aligned average, {method}"] = onefold.merge(
                members, labelled, align=method, reference=best, fold="average"
            ).model
        except OnefoldError as error:
            print(f"{method}: {error}", flush=True)
    return found


def fit(
    members: list[nn.Module],
    level: str,
    setting: dict[str, Any],
    labelled: Batches,
    held_out: Batches | None,
    common: dict[str, Any],
) -> Any:
    """Gates learned with one setting."""
    members = [in_two(m) for m in members] if "modules" in setting else members
    soft = onefold.SoftMerge(
        members, level, **{k: v for k, v in setting.items() if k not in (*FIT, "modules")}
    )
    learning = {k: v for k, v in setting.items() if k in FIT} | ({} if level == "model" else common)
    return onefold.fit_gates(soft, labelled, held_out=held_out, **learning)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--members", type=Path, default=Path("members"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["different", "same"])
    parser.add_argument("--levels", nargs="+", default=list(CANDIDATES))
    parser.add_argument("--steps", type=int, default=300, help="of module and layer level")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument(
        "--candidates", type=int, default=4, help="of module and layer level, try so many settings"
    )
    parser.add_argument(
        "--choose",
        type=int,
        help="use so many of the held-out images to choose settings (default: all)",
    )
    parser.add_argument("--test", type=int, help="use so many test images (default: all)")
    parser.add_argument(
        "--members-only",
        action="store_true",
        help="beside gates show the members and their ensemble only",
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    labelled, choose, test = parts(arguments.network, arguments.test)
    choose = choose[: (arguments.choose or 10**9) // 250]
    common = {"steps": arguments.steps, "batch_size": arguments.batch}
    settings = {
        "labelled": 500,
        "choose": 250 * len(choose),
        "test": arguments.test or 10000,
        **common,
    }
    record: dict[str, Any] = {"network": arguments.network, "settings": {}}
    if (
        arguments.out.exists()
    ):  # go on: baselines and levels that are there stay, but for the levels asked for
        record |= json.loads(arguments.out.read_text())
    for kind in arguments.kinds:
        groups = [KINDS[kind](arguments.members, arguments.network, g) for g in range(GROUPS)]
        numbers = numbered(labelled, choose, test)
        known = [[recorded(m, labelled, choose, test) for m in members] for members in groups]
        own = record.setdefault(kind, {"baselines": [], "levels": {}})
        record["settings"][kind] = settings
        for g, members in list(enumerate(groups))[len(own["baselines"]) :]:
            row = {f"member {k}": round(accuracy(m, numbers[2]), 2) for k, m in enumerate(known[g])}
            row |= {"best": max(row.values()), "ensemble": round(accuracy(known[g], numbers[2]), 2)}
            if not arguments.members_only:
                row |= {
                    name: round(accuracy(model, test), 2)
                    for name, model in averages(members, labelled).items()
                }
                row["distillation"] = round(accuracy(distilled(members, labelled, choose), test), 2)
            if kind == "siblings":
                row["origin"] = round(
                    accuracy(origin(arguments.members, arguments.network, g), test), 2
                )
            own["baselines"].append(row)
            print(kind, row, flush=True)
        for level in arguments.levels:
            tried = []
            networks, (few, many, last) = (
                (known, numbers) if level == "model" else (groups, (labelled, choose, test))
            )
            for setting in CANDIDATES[level][: None if level == "model" else arguments.candidates]:
                start = time.perf_counter()
                fitted = [
                    fit(members, level, setting, few, many if kind == "same" else None, common)
                    for members in networks
                ]
                held_out = statistics.mean(accuracy(each.soft.harden(), many) for each in fitted)
                tried.append(
                    (held_out, setting, fitted, (time.perf_counter() - start) / len(groups))
                )
                print(kind, level, setting, round(held_out, 2), flush=True)
            _, setting, fitted, seconds = max(tried, key=lambda t: t[0])
            rows = []
            for each, baseline in zip(fitted, own["baselines"], strict=True):
                gated = accuracy(each.soft.harden(), last)
                returned = gated if each.choice == "gated" else accuracy(each.model, last)
                rows.append(
                    {
                        "gated": round(gated, 2),
                        "above best": round(gated - baseline["best"], 2),
                        "choice": each.choice,
                        "returned": round(returned, 2),
                        "returned above best": round(returned - baseline["best"], 2),
                        "notes": each.notes,
                        "gates": each.gates.to_dict()["gates"],
                        "seconds": each.seconds,
                    }
                )
                print(
                    kind,
                    level,
                    {k: v for k, v in rows[-1].items() if k not in ("gates", "notes")},
                    flush=True,
                )
            own["levels"][level] = {
                "setting": setting,
                "held-out": {str(s): round(h, 2) for h, s, _, _ in tried},
                "groups": rows,
                "seconds": round(seconds, 1),
            }
            arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
