r"""How far to merge?

Accuracy and cost of a partial merge against the share of layers that are merged, from the ensemble
(0) to one network (1).

    python benchmarks/folding/partial.py halves-vgg11 same-resnet20 \
        --out benchmarks/results/folding/partial.json
    python benchmarks/folding/partial.py --quick --out quick.json      a few cuts, 500 images
    python benchmarks/folding/partial.py --table benchmarks/results/folding/partial.json

The first pair of members of each group of study.py, aligned and merged with unlabelled training
images, then cut behind every number of layers, at the last place where one value crosses. Settings
are the library's defaults, and nothing is chosen. Test images are only scored, by the mean of the
members' probabilities. What was measured is kept in the record; a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from groups import GROUPS, Batches, load_batches, load_members, open_record
from partial_table import table
from torch import nn

import onefold
from onefold.alignment import trace_on
from onefold.batches import Batch
from onefold.fold.partial.cost import cost_of
from onefold.fold.partial.heads import head_state
from onefold.fold.partial.module import assemble
from onefold.symmetry.cutting import Cut, Cutting

WAYS = {
    "permutation": {"align": "permutation"},
    "zipit": {"align": "zipit"},
    "cca": {"align": "cca"},
    "least squares, correlation": {
        "align": "permutation",
        "fold": "least_squares",
        "target": "correlation",
    },
    "least squares, equal": {"align": "permutation", "fold": "least_squares", "target": "equal"},
}


def scored(models: list[nn.Module] | nn.Module, test: Batches) -> dict[str, Any]:
    """Accuracy in percent and NLL of the averaged probabilities, and each output's own accuracy.
    models: networks, or one that returns a list.
    """
    right, loss, each, count = 0, 0.0, [0, 0], 0
    with torch.no_grad():
        for x, y in test:
            outputs = [model(x) for model in models] if isinstance(models, list) else models(x)
            outputs = outputs if isinstance(outputs, list) else [outputs]
            mean = torch.stack([own.double().softmax(1) for own in outputs]).mean(0)
            right += int((mean.argmax(1) == y).sum())
            loss -= float(mean.gather(1, y[:, None]).log().sum())
            each = [
                a + int((own.argmax(1) == y).sum()) for a, own in zip(each, outputs, strict=False)
            ]
            count += len(y)
    return {
        "accuracy": round(100 * right / count, 2),
        "nll": round(loss / count, 4),
        "each": [round(100 * own / count, 2) for own in each],
    }


def places(cutting: Cutting, most: int) -> list[Cut]:
    """Behind every number of layers the last place where one value crosses; of more than `most`
    some, evenly spread, the last among them.
    """
    found = list({cut.layers: cut for cut in cutting.cuts if len(cut.crossing) == 1}.values())
    return found[:: -max(1, -(-len(found) // most))][::-1]


def run(
    members: list[nn.Module],
    images: Batches,
    test: Batches,
    most: int,
    ways: list[str],
    record: dict[str, Any],
    save: Any,
) -> None:
    """One pair: every way, every place."""
    data = [x for x, _ in images]
    example = Batch((data[0][:2],))
    costs = [cost_of(model, example) for model in members]
    one = (costs[0].parameters, costs[0].multiply_adds)
    fast = [model.to(memory_format=torch.channels_last) for model in members]
    if "ensemble" not in record:
        record["ensemble"] = {
            **scored(fast, test),
            "parameters": len(members),
            "multiply-adds": len(members),
        }
        print("  ensemble", record["ensemble"], flush=True)
        save()
    cutting = Cutting(trace_on(members[0], data))
    for way in ways:
        settings = WAYS[way]
        rows = record.setdefault("ways", {}).setdefault(way, {})
        cuts = places(cutting, most)
        if len(rows) > len(cuts):
            continue
        start = time.perf_counter()
        done = onefold.merge(members, data, **{"fold": "average", **settings})
        print(f"  {way}: merged in {time.perf_counter() - start:.1f} s", flush=True)
        states = [model.state_dict() for model in members]
        for cut in cuts:
            if cut.until in rows:
                continue
            heads = [
                head_state(cutting, cut, done.alignment, state, k) for k, state in enumerate(states)
            ]
            shares = [1 / len(members)] * len(members)
            made = assemble(
                cutting,
                cut,
                done.model.state_dict(),
                [h.state for h in heads],
                [h.unmerge for h in heads],
                shares,
                outputs="members",
            )
            cost = cost_of(made, example)
            rows[cut.until] = {
                "share": round(cut.share, 4),
                **scored(made.to(memory_format=torch.channels_last), test),
                "parameters": round(cost.parameters / one[0], 3),
                "multiply-adds": round(cost.multiply_adds / one[1], 3),
                "heads": heads[-1].way,
            }
            print(f"    {cut.until:<14}", rows[cut.until], flush=True)
            save()
        rows["all"] = {
            "share": 1.0,
            **scored([done.model.to(memory_format=torch.channels_last)], test),
            "parameters": 1.0,
            "multiply-adds": 1.0,
        }
        print("    all           ", rows["all"], flush=True)
        save()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []])
    parser.add_argument("--members", type=Path, default=Path("members"))
    parser.add_argument("--data", default=os.environ.get("ONEFOLD_DATA", "../shared/data"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--cuts", type=int, default=99, help="cut at no more than so many places")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(json.loads(arguments.table.read_text()))))
        return
    if arguments.out is None:
        parser.error("give --out or --table")
    torch.set_num_threads(1)
    record, save = open_record(arguments.out)
    for name in arguments.groups or ["halves-vgg11"]:
        group = GROUPS[name]
        images, _, test = load_batches(
            group,
            arguments.data,
            500 if arguments.quick else arguments.images,
            quick=arguments.quick,
        )
        members = load_members(group, group.sets[0], arguments.members)
        print(name, " ".join(group.sets[0]), flush=True)
        run(
            members,
            images,
            test,
            4 if arguments.quick else arguments.cuts,
            arguments.ways,
            record.setdefault(name, {"files": group.sets[0]}),
            save,
        )


if __name__ == "__main__":
    main()
