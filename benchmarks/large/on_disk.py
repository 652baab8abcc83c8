"""Peak memory and CPU seconds of a merge whose members stay on disk, and of one whose members are a
list; each measured in a process of its own.

    python benchmarks/large/on_disk.py --out benchmarks/results/large/on_disk.json

The network is 32,768 -> 256 -> 256 -> 10, 32.3 MiB; the data are 512 random examples. The peak is
the highest resident memory above that before the merge, as Linux tells it, so that the imports do
not count.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COUNTS, METHODS, KINDS = (2, 4, 8), ("permutation", "cca"), ("disk", "list")


def measure(folder: Path, count: int, method: str, kind: str) -> dict[str, float]:
    """One merge in this process."""
    import torch
    from torch import nn

    import onefold
    from onefold.sources import DiskMembers

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(2**15, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )

    def high() -> int:
        found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found[1])

    torch.set_num_threads(1)
    paths = [folder / f"{k}.safetensors" for k in range(count)]
    if count == 1:  # write them
        for k in range(max(COUNTS)):
            torch.manual_seed(k)
            onefold.save(build(), folder / f"{k}.safetensors")
        return {}
    data = [torch.randn(64, 2**15, generator=torch.Generator().manual_seed(k)) for k in range(8)]
    onefold.merge(
        [nn.Linear(3, 3).eval() for _ in range(2)],
        [torch.randn(9, 3)],
        align="permutation",
        fold="average",
    )  # what is imported on first use
    Path("/proc/self/clear_refs").write_text("5")
    before, start = high(), time.process_time()
    members = DiskMembers(build, paths)
    onefold.merge(members if kind == "disk" else members[:], data, align=method, fold="average")
    return {"peak_mib": (high() - before) / 1024, "cpu_s": time.process_time() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=4)
    asked = parser.parse_args()
    if asked.one:
        folder, count, method, kind = asked.one
        print(json.dumps(measure(Path(folder), int(count), method, kind)))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        jobs = [(1, "", "")] + [
            (count, method, kind) for method in METHODS for kind in KINDS for count in COUNTS
        ]
        for count, method, kind in jobs:
            command = [sys.executable, __file__, "--one", folder, str(count), method, kind]
            found = json.loads(
                subprocess.run(
                    command, check=True, capture_output=True, text=True
                ).stdout.splitlines()[-1]
            )
            if found:
                rows.append({"align": method, "members": kind, "count": count, **found})
                print(rows[-1], flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
