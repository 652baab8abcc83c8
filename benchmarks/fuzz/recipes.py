"""Thousands of spoiled recipes, read and checked.

    python benchmarks/fuzz/recipes.py [--files 5000]   writes benchmarks/results/fuzz/recipes.json
    python benchmarks/fuzz/recipes.py --file 17        one file, in words

Every file is a valid recipe of one kind that was spoiled: its values, its structure, its YAML or
its bytes (tests/recipe/random_recipes.py). Reading one ends in a valid recipe, which is the same
once it was written and read, or in an error of onefold of one sentence, in little time and memory.
Nothing is merged or trained, and no data is loaded.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "recipe"))

from random_recipes import METHODS, Spoiled, Verdict, files, verdict  # noqa: E402

RESULTS = HERE.parent / "results" / "fuzz" / "recipes.json"


def main() -> None:
    """Read all files, print every fault, and write the counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--file", type=int, help="this one alone; prints instead of writing")
    options = parser.parse_args()
    make = files()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / METHODS).write_text("")
        if options.file is not None:
            _show(make(options.file), folder)
            return
        done = []
        for number in range(options.files):
            spoiled = make(number)
            found = verdict(spoiled, folder)
            done.append((spoiled, found))
            if found.fault:
                print(f"file {number}, {', '.join(spoiled.how)}: {found.fault}", flush=True)
            if (number + 1) % 500 == 0:
                print(f"{number + 1} of {options.files} files", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(summary(done), indent=1) + "\n", encoding="utf-8")


def summary(done: list[tuple[Spoiled, Verdict]]) -> dict[str, object]:
    """The counts of everything that came of the files."""
    kinds = Counter(spoiled.kind for spoiled, _ in done)
    valid = Counter(spoiled.kind for spoiled, found in done if found.message is None)
    most = max(done, key=lambda pair: pair[1].peak)
    slowest = max(done, key=lambda pair: pair[1].seconds)
    return {
        "files": len(done),
        "refused": sum(found.message is not None for _, found in done),
        "faults": [[spoiled.number, found.fault] for spoiled, found in done if found.fault],
        "kinds": {kind: {"files": kinds[kind], "valid": valid[kind]} for kind in sorted(kinds)},
        "largest_file_bytes": max(len(spoiled.content) for spoiled, _ in done),
        "most_memory_bytes": most[1].peak,
        "most_memory_file_bytes": len(most[0].content),
        "longest_seconds": round(slowest[1].seconds, 2),
    }


def _show(spoiled: Spoiled, folder: Path) -> None:
    print(spoiled.content.decode("utf-8", "replace")[:5000])
    print(spoiled.kind, ", ".join(spoiled.how), verdict(spoiled, folder), sep="\n")


if __name__ == "__main__":
    main()
