"""mergekit 0.1.5 beside onefold, over all configurations; every difference with its reason.

    python -m benchmarks.checkpoints.differential.run --mergekit PATH/TO/python \\
        --out benchmarks/results/checkpoints/differential.json
    ... --record tests/checkpoints/recorded/mergekit.json     what the tests compare with

mergekit runs once, in an environment of its own; MERGEKIT_PYTHON names its interpreter as well.
The exit status is 1 if a difference has no reason.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.checkpoints.differential import large
from benchmarks.checkpoints.differential.carrying_out import run_mergekit, write_models
from benchmarks.checkpoints.differential.configurations import CONFIGURATIONS, Configuration
from benchmarks.checkpoints.differential.declarations import differences
from benchmarks.checkpoints.differential.judging import Verdict, judge, tasks_of
from benchmarks.checkpoints.differential.loading import unloadable
from benchmarks.checkpoints.differential.models import MODELS
from benchmarks.checkpoints.differential.recording import recorded, text_of
from benchmarks.checkpoints.differential.table import tables


def main() -> None:
    """Carry out, compare, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mergekit", default=os.environ.get("MERGEKIT_PYTHON"))
    parser.add_argument("--out", type=Path, help="where the results are written")
    parser.add_argument("--record", type=Path, help="where facts for the tests are written")
    parser.add_argument("--only", default="", help="configurations whose name holds this")
    given = parser.parse_args()
    if not given.mergekit:
        parser.error("name the interpreter of mergekit's environment by --mergekit")
    torch.set_num_threads(1)
    chosen = [one for name, one in CONFIGURATIONS.items() if given.only in name]
    scratch = Path(tempfile.mkdtemp(prefix="onefold-differential-"))
    try:
        known, verdicts, facts = measure(given.mergekit, chosen, scratch)
        sizes = [] if given.only else large.measure(given.mergekit, scratch)
    finally:
        shutil.rmtree(scratch)
    content = {
        "versions": known["versions"],
        "declared_otherwise": differences(known["methods"]),
        "configurations": [one.told() for one in verdicts],
        "large": [one.told() for one in sizes],
    }
    print("\n".join(tables(content)))
    if given.out:
        given.out.write_text(json.dumps(content, indent=1) + "\n")
    if given.record:
        given.record.parent.mkdir(parents=True, exist_ok=True)
        given.record.write_text(text_of({"versions": known["versions"], **facts}))
    unexplained = [what for one in verdicts for what in one.unexplained]
    unexplained += [one.name for one in sizes if one.reason == ""]
    sys.exit(bool(content["declared_otherwise"] or unexplained))


def measure(
    python: str, chosen: list[Configuration], scratch: Path
) -> tuple[dict[str, Any], list[Verdict], dict[str, Any]]:
    """Carry out configurations on both sides.

    Returns:
        Versions and declared methods of mergekit, the verdicts, and facts for the tests.
    """
    models, outputs = scratch / "models", scratch / "outputs"
    write_models(models, chosen)
    for folder in sorted(models.glob("*-float32")):
        for model in MODELS:
            if wrong := unloadable(folder / model):
                raise RuntimeError(f"transformers does not load {folder.name}/{model}: {wrong}")
    tasks = {one.name: tasks_of(one, models, outputs) for one in chosen}
    every = [task for some in tasks.values() for task in some.values()]
    known, problems = run_mergekit(python, every, scratch)
    facts = recorded(chosen, tasks, problems)
    verdicts = [judge(one, tasks[one.name], problems) for one in chosen]
    return known, verdicts, facts


if __name__ == "__main__":
    main()
