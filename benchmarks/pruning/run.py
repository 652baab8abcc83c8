"""Every network, method and budget: accuracy before and after what may follow, cost and seconds.

    python benchmarks/pruning/train.py
    python benchmarks/pruning/tuning.py
    python benchmarks/pruning/run.py --peers ../peers           everything
    python benchmarks/pruning/run.py --networks vit --methods onefold --anew
    python benchmarks/pruning/run.py --table                    prints what there is

The folder of peers holds checkouts of public code, ModelFolding and Intra-Fusion; a peer that is
not there is left out, and the table says why. Seconds are process CPU seconds of the narrowing
alone. "raw" is what a method returns, "recalibrated" has batch-norm statistics measured anew on the
calibration data, "fine-tuned" follows two passes with labels, and "distilled" three without; both
start from the recalibrated network. What was measured is kept, a stopped run goes on, and the
answers to all test examples stay in the folder of `cases.state_folder`, from which intervals of
differences are drawn (paired bootstrap over test examples).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn

from benchmarks.common.data import REPOSITORY, Part
from benchmarks.default.record import keep, kept
from benchmarks.finetunes.paired import difference
from benchmarks.finetunes.scoring import packed
from benchmarks.pruning.cases import CASES, state_folder
from benchmarks.pruning.cost import multiply_adds, parameters
from benchmarks.pruning.methods import METHODS, Method, NotRunError, Task, methods
from benchmarks.pruning.table import shown
from benchmarks.pruning.tuning import CHOICE, Bench, bench, distilled, fine_tuned, start

RESULTS = REPOSITORY / "benchmarks" / "results" / "pruning"
BUDGETS = (0.5, 0.7)
STAGES = ("raw", "recalibrated", "fine-tuned", "distilled")
ORIGINAL = "original"


@torch.no_grad()
def right(network: nn.Module, part: Part) -> Tensor:
    """(n,) bool, which examples are answered rightly."""
    network.eval()
    return torch.cat([network(inputs).argmax(1) == labels for inputs, labels in part.batches()])


class Run:
    """One network: what was measured of it, and where that is kept."""

    def __init__(self, name: str, results: Path, peers: Path | None) -> None:
        self.name, self.peers = name, peers
        self.out = results / f"{name}.json"
        self.answers_file = state_folder() / "answers" / f"{name}.json"
        self.record, self.answers = kept(self.out), kept(self.answers_file)
        self._bench: Bench | None = None
        if ORIGINAL not in self.record:
            own = self.bench
            self.record[ORIGINAL] = {
                "title": own.case.title,
                "accuracy": self.scored(own.network, ORIGINAL),
                **self.cost(own.network, own.task(1.0)),
                "calibration": len(own.data.calibration),
                "fine-tuning": len(own.examples),
                "test": len(own.data.test),
            }
            self.keep()

    @property
    def bench(self) -> Bench:
        """The network and its data, when they are needed."""
        if self._bench is None:
            self._bench = bench(CASES[self.name])
        return self._bench

    def keep(self) -> None:
        """Write the record and the answers."""
        keep(self.record, self.out)
        keep(self.answers, self.answers_file)

    def scored(self, network: nn.Module, key: str) -> float:
        """Accuracy in percent on the test examples; the answers are kept under `key`."""
        found = right(network, self.bench.data.test)
        self.answers[key] = packed(found)
        return round(100 * float(found.double().mean()), 2)

    def cost(self, network: nn.Module, task: Task) -> dict[str, int]:
        """Multiply-adds and parameters."""
        return {
            "multiply_adds": multiply_adds(network, task.example),
            "parameters": parameters(network),
        }

    def narrow(self, name: str, method: Method, budget: float) -> bool:
        """Run a method; whether it returned a network."""
        key, task = f"{name}, {budget:g}x", self.bench.task(budget, self.peers)
        torch.manual_seed(0)
        begin = time.process_time()
        try:
            network = method.run(task)
        except NotRunError as error:
            self.record[key] = {"method": name, "budget": budget, "reason": str(error)}
            self.keep()
            print(f"{self.name}: {key}: {error}", flush=True)
            return False
        seconds = time.process_time() - begin
        self.record[key] = {
            "method": name,
            "title": method.title,
            "budget": budget,
            "labels": method.labels,
            "own": method.own,
            "normed": not method.merged
            and any(isinstance(m, nn.BatchNorm2d) for m in network.modules()),
            "seconds": round(seconds, 1),
            **self.cost(network, task),
            "raw": self.scored(network, f"{key}, raw"),
        }
        self.file(key).parent.mkdir(parents=True, exist_ok=True)
        torch.save(network, self.file(key))
        self.keep()
        print(f"{self.name}: {key}: raw {self.record[key]['raw']:.2f}, {seconds:.1f} s", flush=True)
        return True

    def file(self, key: str) -> Path:
        """Where a narrowed network is kept, for the stages that follow."""
        return state_folder() / "narrowed" / f"{self.name}, {key}.pt"

    def follow(self, name: str, budget: float, stage: str) -> None:
        """One stage behind the narrowing, unless it was measured before."""
        key = f"{name}, {budget:g}x"
        row = self.record[key]
        if stage in row or (stage == "recalibrated" and not row["normed"]):
            return
        network = torch.load(self.file(key), weights_only=False)  # written by `narrow`
        task = self.bench.task(budget, self.peers)
        if row["normed"]:
            network = start(network, task)
        if stage != "recalibrated":
            rates = json.loads(CHOICE.read_text())[self.name]
            if stage == "fine-tuned":
                network = fine_tuned(network, self.bench, float(rates["fine-tuning"]))
            else:
                network = distilled(network, self.bench, task, float(rates["distillation"]))
        row[stage] = self.scored(network, f"{key}, {stage}")
        self.keep()
        print(f"{self.name}: {key}: {stage} {row[stage]:.2f}", flush=True)

    def compare(self) -> None:
        """Ours minus the best peer at every budget and stage, with the interval of the difference.

        The best peer is the one that is best on the test examples, which favours it. A method whose
        batch norms are merged away stands at "recalibrated" with its "raw".
        """
        for budget in BUDGETS:
            rows = [
                row for row in self.record.values() if row.get("budget") == budget and "raw" in row
            ]
            ours = [row for row in rows if row["own"]]
            if not ours or len(rows) == len(ours):
                continue
            found = {}
            for stage in STAGES:
                if not any(stage in row for row in rows):
                    continue
                whole = [self._stage(row, stage) for row in rows if not row["own"]]
                peers = [each for each in whole if each is not None]
                own = self._stage(ours[0], stage)
                if own is None or not peers:
                    continue
                best = max(peers, key=lambda each: each[0])
                gain, low, high = difference(
                    {self.name: self.answers[own[1]]}, {self.name: self.answers[best[1]]}
                )
                found[stage] = {
                    "peer": best[2],
                    "difference": round(gain, 2),
                    "low": round(low, 2),
                    "high": round(high, 2),
                }
            self.record[f"difference, {budget:g}x"] = found
        self.keep()

    @staticmethod
    def _stage(row: dict[str, Any], stage: str) -> tuple[float, str, str] | None:
        """The accuracy, the key of the answers and the method, of the stage or the one before."""
        held = stage if stage in row else "raw" if stage == "recalibrated" else None
        if held is None:
            return None
        return row[held], f"{row['method']}, {row['budget']:g}x, {held}", row["method"]


def main() -> None:
    """Read the arguments and carry them out: the cheapest stage of all methods first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(methods())
    parser.add_argument("--networks", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--methods", nargs="*", choices=names, default=names)
    parser.add_argument("--budgets", nargs="*", type=float, default=list(BUDGETS))
    parser.add_argument("--stages", nargs="*", choices=STAGES[1:], default=STAGES[1:])
    parser.add_argument("--peers", type=Path, help="the folder of checkouts of public code")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--anew", action="store_true", help="measure again what is there")
    parser.add_argument("--table", action="store_true", help="print what there is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.networks:
        if not arguments.table and CASES[name].file.exists():
            run = Run(name, arguments.results, arguments.peers)
            pairs = [(each, budget) for budget in arguments.budgets for each in arguments.methods]
            for each, budget in pairs:
                if arguments.anew or "raw" not in run.record.get(f"{each}, {budget:g}x", {}):
                    run.narrow(each, METHODS[each], budget)
            for stage in arguments.stages:
                for each, budget in pairs:
                    if "raw" in run.record[f"{each}, {budget:g}x"]:
                        run.follow(each, budget, stage)
            run.compare()
        if (arguments.results / f"{name}.json").exists():
            print("\n".join([*shown(kept(arguments.results / f"{name}.json")), ""]))


if __name__ == "__main__":
    main()
