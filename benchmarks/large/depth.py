"""Does a merge of deep networks take time in proportion to their depth?

    python benchmarks/large/depth.py --out benchmarks/results/large/depth.json

Two perceptrons of 8 units a layer, aligned by permutation and repaired, on 64 examples. CPU-seconds
of the whole merge are printed beside those of torch.export alone, which traces the network and
takes most of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import onefold

WIDTH, INPUTS, CLASSES = 8, 4, 3


def perceptron(depth: int, seed: int) -> nn.Module:
    """A network of so many linear layers, narrow, with rectifiers between them."""
    torch.manual_seed(seed)
    sizes = [INPUTS, *[WIDTH] * (depth - 1), CLASSES]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def measure(depth: int, data: list[Tensor]) -> dict[str, float]:
    """CPU-seconds of one merge, and of torch.export of one of the networks."""
    models = [perceptron(depth, seed) for seed in (0, 1)]
    start = time.process_time()
    onefold.merge(models, data, align="permutation", fold="average")
    merged = time.process_time()
    torch.export.export(models[0], (data[0],), strict=False)
    return {"merge": merged - start, "torch.export": time.process_time() - merged}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", type=int, nargs="+", default=[75, 150, 300, 600])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = [torch.randn(32, INPUTS, generator=torch.Generator().manual_seed(k)) for k in (0, 1)]
    measure(10, data)  # imports
    record = {}
    for depth in arguments.depths:
        record[str(depth)] = {k: round(v, 2) for k, v in measure(depth, data).items()}
        print(f"{depth} layers: {record[str(depth)]} CPU-seconds", flush=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
