"""How long the program takes to answer: its help, its methods, and five mistakes.

Every command is a process of its own. Wall time depends on what else the machine does; CPU time of
the process hardly does. Both are kept, as the medians of several runs.

python benchmarks/terminal/answers.py --name after
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results" / "terminal"
COMMON = ("--model", "digits", "--data", "sklearn:digits", "-o", "folded.safetensors")
CASES = {
    "help": ("--help",),
    "help of merge": ("merge", "--help"),
    "methods": ("methods",),
    "unknown command": ("mrge",),
    "unknown option": ("merge", "a.safetensors", "b.safetensors", "--alin", "cca", *COMMON),
    "unknown matcher": ("merge", __file__, __file__, "--align", "permutaton", *COMMON),
    "missing file": ("merge", "a.safetensors", "b.safetensors", *COMMON),
    "missing option": ("merge", "a.safetensors", "b.safetensors", "--data", "sklearn:digits"),
}


def once(arguments: tuple[str, ...]) -> tuple[float, float, str]:
    """Wall and CPU seconds of one run, and the last line that it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    program = [sys.executable, "-m", "onefold", *arguments]
    ran = subprocess.run(program, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, (ran.stderr.strip() or "it printed what was asked for").split("\n")[-1]


def measure(runs: int) -> dict[str, object]:
    """The medians of every case. The first run of each reads from disk, and is left out."""
    found: dict[str, object] = {}
    for name, arguments in CASES.items():
        taken = [once(arguments) for _ in range(runs + 1)][1:]
        found[name] = {
            "command": " ".join(["onefold", *arguments]).replace(__file__, "FILE"),
            "wall seconds": round(statistics.median(wall for wall, _, _ in taken), 2),
            "CPU seconds": round(statistics.median(cpu for _, cpu, _ in taken), 2),
            "answer": taken[-1][2].replace(__file__, "FILE").replace(f"{os.getcwd()}/", ""),
        }
        print(f"{name:18} {found[name]}", flush=True)
    return found


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="answers", help="the name of the JSON file")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    result = {
        "cores": os.cpu_count(),
        "load before": round(load, 1),
        "runs": asked.runs,
        "cases": measure(asked.runs),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{asked.name}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
