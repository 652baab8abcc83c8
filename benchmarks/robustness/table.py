"""The tables of benchmarks/robustness/run.py: counts, deviations, refusals, exceptions, faults.

    python benchmarks/robustness/table.py

Rows are read from benchmarks/robustness/runs/*.jsonl if there are any. Their summary is kept in
benchmarks/results/robustness/results.json, which is read otherwise.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT = HERE.parent / "results" / "robustness" / "results.json"
KINDS = ("align", "fold", "repair")


def summary(networks: list[dict[str, Any]]) -> dict[str, Any]:
    """All that the tables show, as plain data."""
    pairs: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    excused: Counter[str] = Counter()
    worst: dict[str, dict[str, Any]] = defaultdict(lambda: {"merges": 0, "exact": 0.0, "near": 0.0})
    faults = []
    for network in networks:
        for row in network["merges"]:
            named = [f"{kind} {value}" for kind, value in zip(KINDS, row["options"], strict=True)]
            pairs.update(" + ".join(pair) for pair in itertools.combinations(named, 2))
            more = [f"{row['members']} members", f"reference {row['reference']}"]
            more.append("shares" if row["weighted"] else "equal shares")
            if row["excused"]:
                excused[row["excused"]] += 1
            if row["refusal"]:
                refusals[re.sub(r"\d+", "#", row["refusal"])] += 1
            if row["fault"]:
                faults.append([network["network"], row["options"], row["fault"]])
            for name in (*named, *more, f"family {network['family']}", network["dtype"]):
                own = worst[name]
                own["merges"] += 1
                if row["deviation"] is not None and not row["excused"]:
                    column = "exact" if row["bound"] < 1e-3 else "near"
                    own[column] = max(own[column], row["deviation"])
    return {
        "networks": len(networks),
        "merges": sum(len(network["merges"]) for network in networks),
        "cpu_seconds": round(sum(network["seconds"] for network in networks)),
        "least_pair": min(pairs.values(), default=0),
        "pairs": dict(sorted(pairs.items())),
        "options": {name: worst[name] for name in sorted(worst)},
        "refusals": dict(refusals.most_common()),
        "excused": dict(excused.most_common()),
        "faults": faults,
    }


def main() -> None:
    """Print the tables, and store what they show in KEPT."""
    runs = sorted((HERE / "runs").glob("*.jsonl"))
    if runs:
        lines = [json.loads(line) for path in runs for line in path.open()]
        networks = list({line["network"]: line for line in lines}.values())
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_text(json.dumps(summary(networks), indent=1) + "\n")
    found = json.loads(KEPT.read_text())
    print(f"{found['networks']} networks, {found['merges']} merges, {found['cpu_seconds']} CPU-s")
    print(f"\nEvery pair of options at least {found['least_pair']} times:")
    for first, second in itertools.combinations(KINDS, 2):
        _print_counts(found["pairs"], first, second)
    print(f"\n{'option':28} {'merges':>7} {'largest, exact':>15} {'largest, near':>14}")
    for name, own in found["options"].items():
        print(f"{name:28} {own['merges']:7} {own['exact']:15.1e} {own['near']:14.1e}")
    for title in ("refusals", "excused"):
        print(f"\n{title}:")
        for text, count in found[title].items():
            print(f"{count:6}  {text}")
    print(f"\nfaults: {len(found['faults'])}")
    for number, options, text in found["faults"]:
        print(f"  network {number}, {' '.join(options)}: {text}")


def _print_counts(pairs: dict[str, int], first: str, second: str) -> None:
    found = {
        tuple(part.split(" ")[1] for part in pair.split(" + ")): count
        for pair, count in pairs.items()
        if pair.startswith(first) and f" + {second}" in pair
    }
    rows, columns = (list(dict.fromkeys(pair[k] for pair in found)) for k in (0, 1))
    print(f"\n{first + ' / ' + second:20}" + "".join(f"{name[:11]:>12}" for name in columns))
    for row in rows:
        print(f"{row:20}" + "".join(f"{found.get((row, name), 0):12}" for name in columns))


if __name__ == "__main__":
    main()
