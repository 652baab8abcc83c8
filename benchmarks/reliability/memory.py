"""Does memory grow from merge to merge in one process?

    python benchmarks/reliability/memory.py --merges 500 \
        --out benchmarks/results/reliability/memory.json

Small networks of digits are merged again and again, each time new ones, in every way of `WAYS`.
After every 50 merges the memory of the process is read: its resident set, after Python's garbage is
collected and glibc has given its free pages back, in MB of 10^6 bytes. A second table counts the
objects that Python holds.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import onefold
from onefold.sources import build_data, build_model

EVERY = 50

Way = Callable[[list[nn.Module], list[Any]], Any]


def gates(models: list[nn.Module], data: list[Any]) -> nn.Module:
    """A soft merge of a few steps."""
    soft = onefold.SoftMerge(models, level="layer", screen=False)
    return onefold.fit_gates(soft, data, steps=3).model


WAYS: dict[str, Way] = {
    "permutation": lambda m, d: onefold.merge(m, d, align="permutation").model,
    "cca": lambda m, d: onefold.merge(m, d, align="cca").model,
    "least squares": lambda m, d: onefold.merge(m, d, fold="least_squares").model,
    "gates": gates,
}


def members(number: int) -> list[nn.Module]:
    """Two new networks."""
    torch.manual_seed(number)
    return [build_model("digits?width=4").eval() for _ in range(2)]


def resident() -> float:
    """The memory of this process in MB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--merges", type=int, default=500, help="in every way")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        raise SystemExit("Memory is read from /proc, which this system does not have.")
    torch.set_num_threads(1)
    data = list(build_data("sklearn:digits", limit=100, batch_size=50))
    record: dict[str, Any] = {}
    for name in arguments.ways:
        rows = {}
        for number in range(1, arguments.merges + 1):
            WAYS[name](members(number), data)
            if number % EVERY == 0:
                rows[str(number)] = {"MB": round(resident(), 2), "objects": len(gc.get_objects())}
                print(f"{name}, {number} merges: {rows[str(number)]}", flush=True)
        record[name] = rows
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
