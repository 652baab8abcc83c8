"""What pooling by class costs where its data are not as even as it takes them to be.

    python benchmarks/folding/uneven.py --out benchmarks/results/folding/uneven.json

The pairs of the study's groups on held-out training images only: from half of them images are drawn
whose classes come in shares from 1 to `ratio`, in equal steps of their logarithms and a random
order; a pool is estimated from these without labels, once taking them to be even and once told the
shares; accuracy is that of the ensembles on the other half, whose classes are even.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from pathlib import Path

import torch
from groups import GROUPS, load_members
from torch import Tensor, nn

import onefold
from onefold.sources import build_data

RATIOS = (1, 2, 4, 10)


def uneven(labels: Tensor, ratio: float, seed: int) -> tuple[Tensor, Tensor]:
    """Which images to draw (n,) bool, and the shares of the classes among them."""
    generator = torch.Generator().manual_seed(seed)
    classes = int(labels.max()) + 1
    shares = torch.logspace(0, math.log10(ratio), classes)[
        torch.randperm(classes, generator=generator)
    ]
    return (
        torch.rand(len(labels), generator=generator) < (shares / shares.max())[labels],
        shares / shares.sum(),
    )


def measure(
    members: list[nn.Module], images: Tensor, labels: Tensor, ratio: float, seed: int
) -> dict[str, float]:
    """Accuracies in percent of the ensembles, and of the better member."""
    half = len(labels) // 2
    keep, shares = uneven(labels[:half], ratio, seed)
    drawn = list(images[:half][keep].split(500))
    test = list(zip(images[half:].split(500), labels[half:].split(500), strict=True))
    pools = {
        "taken to be even": onefold.class_pool(members, drawn),
        "told the shares": onefold.class_pool(members, drawn, shares=shares),
    }
    told = onefold.ClassPool(
        pools["told the shares"].seen,
        pools["taken to be even"].shares,
        pools["told the shares"].weights,
    )
    found = {
        "better member": max(onefold.evaluate(member, test).accuracy for member in members),
        "ensemble": onefold.evaluate(members, test).accuracy,
    }
    found["taken to be even"] = onefold.evaluate(
        members, test, ensemble=pools["taken to be even"]
    ).accuracy
    found["told the shares"] = onefold.evaluate(
        members, test, ensemble=told
    ).accuracy  # asked about the even half
    return {name: round(100 * value, 2) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=Path, default=Path("members"))
    parser.add_argument("--data", default=os.environ.get("ONEFOLD_DATA", "../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    held_out = list(
        build_data(f"parquet:{arguments.data}/cifar10", split="train", skip=45000, batch_size=500)
    )  # no member saw these
    images, labels = (
        torch.cat([x for x, _ in held_out]).contiguous(memory_format=torch.channels_last),
        torch.cat([y for _, y in held_out]),
    )
    record: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name in ("dirichlet-vgg11-8000", "halves-vgg11-8000"):
        group = GROUPS[name]
        pairs = [
            [
                member.to(memory_format=torch.channels_last)
                for member in load_members(group, files, arguments.members)
            ]
            for files in group.sets
        ]
        record[name] = {
            str(r): [measure(pair, images, labels, r, seed) for seed, pair in enumerate(pairs)]
            for r in RATIOS
        }
        print(f"{name}, mean of {len(pairs)} pairs")
        for ratio, rows in record[name].items():
            print(
                f"  1 to {ratio:<3}"
                + "".join(
                    f"  {key} {statistics.mean(row[key] for row in rows):.1f}" for key in rows[0]
                ),
                flush=True,
            )
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
