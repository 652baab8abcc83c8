"""Damaged checkpoints read by `onefold.load`: none may crash, hang or take memory.

    python benchmarks/fuzz/run.py [--headers 100000] [--archives 20000]   goes on where it was
    python benchmarks/fuzz/run.py --show archives 17                      one file, in words

Every file is made from its number (headers.py, archives.py) and read under limits of time and
memory (trial.py). Python's objects are counted for every tenth. After each thousand the counts go
to benchmarks/results/fuzz/KIND.json, from which a later run goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.fuzz import archives, headers  # noqa: E402
from benchmarks.fuzz.trial import limited, trial  # noqa: E402

FAMILIES: dict[str, Any] = {"headers": headers, "archives": archives}
SUFFIX = {"headers": ".safetensors", "archives": ".pt"}
RESULTS = ROOT / "benchmarks" / "results" / "fuzz"
BLOCK = 1000
SHARED = Path("/dev/shm")  # a disk in memory, where there is one


def main() -> None:
    """Run what is left, or show one file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--headers", type=int, default=100_000)
    parser.add_argument("--archives", type=int, default=20_000)
    parser.add_argument("--show", nargs=2, metavar=("KIND", "NUMBER"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as folder:
        if options.show:
            kind, number = options.show
            damage, data = FAMILIES[kind].damaged(int(number))
            (path := Path(folder) / f"file{SUFFIX[kind]}").write_bytes(data)
            with limited():
                print(damage, len(data), trial(path, traced=True), sep="\n")
            return
        for kind in FAMILIES:
            run(kind, getattr(options, kind), Path(folder))


def run(kind: str, count: int, folder: Path) -> None:
    """Read files 0 to `count`, and keep the counts after every block."""
    place = RESULTS / f"{kind}.json"
    kept = json.loads(place.read_text()) if place.exists() else {"files": 0}
    endings = Counter(kept.get("endings", {}))
    damages = Counter(kept.get("damages", {}))
    faults: list[Any] = kept.get("faults", [])
    seconds: float = kept.get("processor seconds", 0.0)
    path = folder / f"file{SUFFIX[kind]}"
    while kept["files"] < count:
        start = time.process_time()
        block = range(kept["files"], min(kept["files"] + BLOCK, count))
        with limited():
            for number in block:
                damage, data = FAMILIES[kind].damaged(number)
                path.write_bytes(data)
                outcome = trial(path, traced=number % 10 == 0)
                endings[outcome.ending] += 1
                damages[damage] += 1
                if outcome.fault:
                    faults.append([number, damage, outcome.ending, outcome.message])
                    print(*faults[-1], flush=True)
        seconds += time.process_time() - start
        kept = {
            "files": block.stop,
            "faults": faults,
            "endings": dict(sorted(endings.items())),
            "damages": dict(sorted(damages.items())),
            "processor seconds": round(seconds, 1),
            "torch": torch.__version__,
        }
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(kept, indent=2) + "\n")
        print(f"{kind}: {block.stop} of {count}, {len(faults)} faults", flush=True)


if __name__ == "__main__":
    main()
