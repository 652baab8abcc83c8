"""Merges of identical networks: thousands of random ones under random options.

    python benchmarks/robustness/run.py [--networks 2000] [--part 0/1]   goes on where it was
    python benchmarks/robustness/run.py --network 17                     one network, in words
    python benchmarks/robustness/table.py                                the tables

Every network (tests/networks/random_networks.py) is merged with copies of itself under six
combinations of align, fold and repair (tests/networks/random_merges.py). What counts as a fault,
and every exception by name, stands in tests/networks/random_verdicts.py. A network takes about two
CPU-seconds, most of them to trace it once. Rows go to runs/NUMBER-of-NUMBER.jsonl as they are made;
table.py summarises them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "networks"))

from random_merges import Outcome, outcomes  # noqa: E402
from random_networks import case  # noqa: E402
from random_verdicts import excused, fault_of  # noqa: E402


def main() -> None:
    """Run what is left of this part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--part", default="0/1", help="k/n: every n-th network from k on")
    parser.add_argument("--network", type=int, help="this one alone; prints instead of writing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.network is not None:
        _show(options.network)
        return
    part, parts = (int(x) for x in options.part.split("/"))
    path = HERE / "runs" / f"{part}-of-{parts}.jsonl"
    path.parent.mkdir(exist_ok=True)
    done = {json.loads(line)["network"] for line in path.open()} if path.exists() else set()
    left = [n for n in range(part, options.networks, parts) if n not in done]
    with path.open("a") as file:
        for count, number in enumerate(left, start=1):
            start = time.process_time()
            made = case(number)
            rows = [_row(outcome) for outcome in outcomes(made)]
            line = {"network": number, "family": made.family, "steps": list(made.steps)}
            line |= {"returns": made.returns, "dtype": made.dtype, "sizes": made.sizes}
            seconds = round(time.process_time() - start, 2)
            file.write(json.dumps({**line, "seconds": seconds, "merges": rows}) + "\n")
            file.flush()
            for row in rows:
                if row["fault"]:
                    print(f"network {number}, {row['options']}: {row['fault']}", flush=True)
            if count % 50 == 0:
                print(f"{count} of {len(left)} networks", flush=True)


def _row(outcome: Outcome) -> dict[str, Any]:
    options = outcome.options
    return {
        "options": [options.align, options.fold, options.repair],
        "members": options.members,
        "reference": options.reference,
        "weighted": options.weighted,
        "bound": options.bound,
        "deviation": outcome.deviation,
        "refusal": outcome.refusal,
        "excused": excused(outcome),
        "fault": fault_of(outcome),
    }


def _show(number: int) -> None:
    made = case(number)
    print(made.network, made.steps, made.returns, made.dtype, made.statistics, sep="\n")
    for outcome in outcomes(made):
        row = _row(outcome)
        print(outcome.options, row["deviation"], row["refusal"] or row["excused"] or "", sep=", ")
        print("  fault:", row["fault"], " warnings:", outcome.warnings)


if __name__ == "__main__":
    main()
