"""Do the tests notice a wrong line?

    python benchmarks/mutation/run.py --resume [--files moments zipit] [--minutes 20]
    python benchmarks/mutation/run.py --table                     print what is kept, run nothing

416 seeded mutants (mutants.py) of the 26 files that compute, each against the tests of its own
file. A mutant is written into a copy of the package in a temporary folder, never into this tree.
The tests run in a fork of one process, which has imported torch and pytest but not the package. A
mutant whose tests fail, or take too long, is killed; one whose tests pass has survived.

benchmarks/results/mutation/results.json keeps the outcome of every mutant, and the hash of the file
as it was: mutants of a file that has changed run again. Survivors run again with --survivors, as
the tests may have. survivors.md says of those that are left why no test can tell them.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutants import Mutant, chosen

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "mutation" / "results.json"
SEED, EACH = 0, 16
MEMORY = 16 * 2**30  # bytes of address space that one mutant may take
IMPORTED = (
    "torch",
    "numpy",
    "scipy.optimize",
    "scipy.linalg",
    "hypothesis",
    "hypothesis.strategies",
    "pytest",
    "_pytest.assertion.rewrite",
    "safetensors.torch",
    "torch.export",
    "torch._dynamo",
    "torch.fx.experimental.symbolic_shapes",
    "torch._export",
    "sympy",
    "torch.distributed",
    "sklearn.metrics",
    "torchmetrics",
    "ot",
    "yaml",
    "typer",
    "rich.progress",
    "pydantic",
    "matplotlib.figure",
)

# File of src/onefold -> its test files in tests. The slow tests of these are left out, as every
# mutant pays for them.
FILES: dict[str, tuple[str, ...]] = {
    "alignment/moments.py": ("alignment/test_moments.py",),
    "alignment/matchers/dense.py": ("alignment/matchers/test_dense.py",),
    "alignment/matchers/cca.py": (
        "alignment/matchers/test_cca.py",
        "alignment/matchers/test_dense.py",
        "alignment/matchers/test_base.py",
    ),
    "alignment/matchers/procrustes.py": (
        "alignment/matchers/test_procrustes.py",
        "alignment/matchers/test_dense.py",
        "alignment/matchers/test_base.py",
        "alignment/matchers/test_ties.py",
    ),
    "alignment/matchers/balanced.py": ("alignment/matchers/test_balanced.py",),
    "alignment/matchers/transport.py": ("alignment/matchers/test_transport.py",),
    "alignment/matchers/zipit.py": ("alignment/matchers/test_zipit.py",),
    "alignment/matchers/weight_matching.py": ("alignment/matchers/test_weight_matching.py",),
    "alignment/matchers/weight_problem.py": (
        "alignment/matchers/test_weight_problem.py",
        "alignment/matchers/test_weight_matching.py",
    ),
    "fold/least_squares/ridge.py": ("fold/least_squares/test_ridge.py",),
    "fold/least_squares/targets.py": (
        "fold/least_squares/test_targets.py",
        "fold/least_squares/test_output_layers.py",
    ),
    "fold/least_squares/elimination.py": ("fold/least_squares/test_elimination.py",),
    "fold/soft/gates.py": ("fold/soft/test_gates.py",),
    "fold/soft/weighted.py": ("fold/soft/test_weighted.py", "fold/soft/test_equality.py"),
    "fold/soft/fit.py": (
        "fold/soft/test_fit.py",
        "fold/soft/test_soft_merge.py",
        "fold/soft/test_bad_input.py",
    ),
    "explore/subspace/mixing.py": (
        "explore/subspace/test_mixing.py",
        "explore/subspace/test_second_derivatives.py",
    ),
    "explore/subspace/shapes.py": ("explore/subspace/test_shapes.py",),
    "explore/persistent/kernels.py": ("explore/persistent/test_kernels.py",),
    "explore/persistent/penalty.py": ("explore/persistent/test_penalty.py",),
    "symmetry/maps.py": ("symmetry/test_maps.py",),
    "symmetry/action.py": ("symmetry/test_action_by_hand.py",),
    "tasks/calibration.py": ("tasks/test_calibration.py",),
    "measure/scores.py": ("measure/test_scores.py",),
    "batchnorm.py": ("test_batchnorm.py",),
    "fold/repair.py": ("fold/test_repair.py",),
    "fold/average.py": ("fold/test_average.py",),
}
SLOW = (
    "two_processes",
    "widths_16_and_24",
    "uniform_marginals_and_cost",
    "entropic_maps_fold",
    "what_cannot_be_folded",
    "two_thousand_features",
    "unusable_members_and_data",
    "torchmetrics",
    "two_ranks",
    "on_all_ranks",
    "under_ddp",
    "compiled",
    "cuda_device",
    "resumed_run",
    "zipped_copies_of_one",
    "common_network_does_not",
    "groups_without_matrices",
    "transport_of_equal_widths",
    "hidden_layers_have",
    "it_beats_the_repaired",
    "permuted_copies_fold_to",
    "it_is_all_one_whether",
    "every_layer_is_folded",
    "few_columns_serve",
    "same_on_all",
    "mixed_precision",
    "activation_checkpointing",
    "data_give_targets",
    "a_merge_needs_no_data",
    "members_keep_their_function",
    "identical_networks_stay_what",
    "left_bit_for_bit",
    "what_is_not_included_stays",
    "the_best_of_the_candidates",
)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run.

    ending: "passed", "failed", "timed out" or "broke" (before any test).
    """

    ending: str
    seconds: float


class Copy:
    """A copy of the package and its tests in a temporary folder, in which tests run by fork."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(
            ROOT / "src" / "onefold",
            folder / "src" / "onefold",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        shutil.copytree(
            ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(ROOT / "pyproject.toml", folder)

    def path(self, name: str) -> Path:
        """Where a file of the package is in the copy."""
        return self.folder / "src" / "onefold" / name

    def put(self, name: str, text: str) -> None:
        """Write a file, without the bytes that Python made of what it was."""
        for stale in self.path(name).parent.glob(f"__pycache__/{self.path(name).stem}.*"):
            stale.unlink()
        self.path(name).write_text(text)

    def run(self, tests: Sequence[str], limit: float) -> Outcome:
        """The tests in a fork of this process, for at most `limit` seconds."""
        start, log = time.monotonic(), self.folder / "log"
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.setsid()
                code = self._tests(tests, log)
            finally:
                os._exit(code)
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            seconds = time.monotonic() - start
            if done:
                code = os.waitstatus_to_exitcode(status)
                return Outcome({0: "passed", 1: "failed"}.get(code, "broke"), seconds)
            if seconds > limit:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return Outcome("timed out", seconds)
            time.sleep(0.02)

    def _tests(self, tests: Sequence[str], log: Path) -> int:
        import pytest

        stream = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        os.chdir(self.folder)
        for name in ("TMPDIR", "HYPOTHESIS_STORAGE_DIRECTORY"):
            folder = self.folder / name.lower()
            folder.mkdir(exist_ok=True)
            os.environ[name] = str(folder)
        tempfile.tempdir = None
        os.environ["PYTHONPATH"] = str(self.folder / "src")
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
            "1"  # none is needed, and all are slow to import
        )
        sys.dont_write_bytecode = False
        sys.path[:] = [
            str(self.folder / "src"),
            str(self.folder / "tests"),
            *(p for p in sys.path if p != str(ROOT / "src")),
        ]
        from hypothesis import Phase, settings

        found = (Phase.explicit, Phase.generate)  # a failing example need not be made small
        settings.register_profile(
            "mutation", derandomize=True, database=None, deadline=None, phases=found
        )
        settings.load_profile("mutation")
        without = " and ".join(f"not {name}" for name in SLOW)
        return int(
            pytest.main(
                [
                    "-x",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "--durations=15",
                    "--rootdir",
                    str(self.folder),
                    "-k",
                    without,
                    *tests,
                ]
            )
        )


def tests_of(name: str) -> list[str]:
    """The test files that belong to a file of the package."""
    return [f"tests/{path}" for path in FILES[name]]


def key_of(mutant: Mutant, text: str, seen: dict[str, int]) -> str:
    """What a mutant is known by in the results: its text, and the number among equal ones."""
    content = " -> ".join(mutant.shown(text))
    seen[content] = seen.get(content, -1) + 1
    return f"{content} #{seen[content]}"


def read() -> dict[str, str]:
    """The files as they are now; they may change while mutants run."""
    return {name: (ROOT / "src" / "onefold" / name).read_text() for name in FILES}


def plan(texts: dict[str, str]) -> dict[str, list[Mutant]]:
    """The mutants of every file: 16 each, more of large files if a small one has fewer."""
    total, counts = EACH * len(FILES), dict.fromkeys(FILES, EACH)
    found = {name: chosen(text, name, EACH, SEED) for name, text in texts.items()}
    for name in sorted(FILES, key=lambda each: -len(texts[each])):
        missing = total - sum(len(own) for own in found.values())
        if missing > 0:
            counts[name] = EACH + missing
            found[name] = chosen(texts[name], name, counts[name], SEED)
    return found


def table(results: dict[str, Any]) -> list[str]:
    """A row for every file, and all survivors."""
    lines = [
        "| file | mutants | run | killed | of them by time | survived |",
        "|---|---|---|---|---|---|",
    ]
    wanted = plan(read())
    totals = [0, 0, 0, 0, 0]
    survivors = []
    for name, own in wanted.items():
        entry = results.get(name, {"mutants": {}})
        kept = list(entry["mutants"].values())
        by_time = sum(each["ending"] == "timed out" for each in kept)
        alive = [each for each in kept if each["ending"] == "passed"]
        row = [len(own), len(kept), len(kept) - len(alive), by_time, len(alive)]
        totals = [a + b for a, b in zip(totals, row, strict=True)]
        lines.append(f"| {name} | " + " | ".join(map(str, row)) + " |")
        survivors += [
            f"{name}:{each['line']} ({each['kind']})\n    - {each['before']}\n    + {each['after']}"
            for each in alive
        ]
    lines.append("| all | " + " | ".join(map(str, totals)) + " |")
    share = 100 * totals[2] / totals[1] if totals[1] else 0.0
    return [
        *lines,
        "",
        f"Killed: {totals[2]} of {totals[1]} ({share:.1f} %).",
        "",
        "Survivors:",
        *survivors,
    ]


def main() -> None:
    """Run, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--files", nargs="*", default=[], help="parts of names of files; by default all"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the results that are kept; otherwise begin anew",
    )
    parser.add_argument(
        "--survivors", action="store_true", help="run those again that have survived"
    )
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="begin no mutant after this time"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=5.0,
        help="time limit as a multiple of the tests' time without a mutant",
    )
    parser.add_argument("--table", action="store_true", help="print what is kept and run nothing")
    given = parser.parse_args()
    results: dict[str, Any] = {}
    if (given.resume or given.survivors or given.table) and RESULTS.exists():
        results = json.loads(RESULTS.read_text())
    if not given.table:
        run(given, results)
    print("\n".join(table(results)))


def run(given: argparse.Namespace, results: dict[str, Any]) -> None:
    """Run the mutants that are to be run, and keep what comes of them."""
    sys.path.insert(0, str(ROOT / "tests"))
    importlib.import_module("tvshim").import_torchvision()
    for name in IMPORTED:
        try:
            importlib.import_module(name)
        except ImportError:
            print(
                f"{name} is not installed; what needs it will be imported by every mutant, or"
                " skipped."
            )
    gc.freeze()  # forks need not look through what is here already
    end = time.monotonic() + 60 * given.minutes
    texts = read()
    for name, own in plan(texts).items():
        if given.files and not any(part in name for part in given.files):
            continue
        text = texts[name]
        digest = hashlib.sha256(text.encode()).hexdigest()
        if results.get(name, {}).get("sha256") != digest:
            results[name] = {"sha256": digest, "tests": tests_of(name), "mutants": {}}
        kept, seen = results[name]["mutants"], {}
        keyed = {key_of(m, text, seen): m for m in own}
        for gone in kept.keys() - keyed.keys():
            del kept[gone]
        waiting = {
            k: m
            for k, m in keyed.items()
            if k not in kept or (given.survivors and kept[k]["ending"] == "passed")
        }
        if not waiting or time.monotonic() > end:
            continue
        results[name]["tests"] = tests_of(name)
        with tempfile.TemporaryDirectory(prefix="onefold-mutation-") as folder:
            copy = Copy(Path(folder))
            copy.put(name, text)
            copy.run(tests_of(name), 600)  # the second run finds compiled files, as mutants do
            plain = copy.run(tests_of(name), 600)
            if plain.ending != "passed":
                log = shutil.copy(
                    copy.folder / "log", Path(tempfile.gettempdir()) / "onefold-mutation.log"
                )
                print(f"{name}: its tests fail without any mutant, see {log}")
                continue
            results[name]["seconds"] = round(plain.seconds, 2)
            print(f"{name}: {len(waiting)} mutants, tests take {plain.seconds:.1f} s", flush=True)
            for key, mutant in waiting.items():
                if time.monotonic() > end:
                    break
                copy.put(name, mutant.apply(text))
                outcome = copy.run(tests_of(name), max(10.0, given.limit * plain.seconds))
                copy.put(name, text)
                before, after = mutant.shown(text)
                kept[key] = {
                    "line": mutant.line,
                    "kind": mutant.kind,
                    "before": before,
                    "after": after,
                    "ending": outcome.ending,
                    "seconds": round(outcome.seconds, 2),
                }
                print(
                    f"  {outcome.ending:9s} {outcome.seconds:5.1f} s  {mutant.line}: {before}  -> "
                    f" {after}",
                    flush=True,
                )
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
