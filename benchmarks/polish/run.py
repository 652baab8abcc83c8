"""What passes, rate, views and start of a distillation bring, at equal images and passes.

    python benchmarks/polish/members.py --members members/
    python benchmarks/polish/run.py --members members/ --out benchmarks/results/polish/results.json
    python benchmarks/polish/run.py --members members/ --groups "vgg11, halves" --out part.json
    python benchmarks/polish/table.py benchmarks/results/polish/results.json

5,000 unlabelled training images that no member has seen. The ensemble of probabilities is distilled
into the best member, and into a fold: least squares after permutation, which is what members that
know different things are folded by. Every network is scored on 5,000 labelled training images, by
which the best member and the settings are chosen, and on all test images. Of a gain over the best
member the paired standard error over the test images is kept. What was measured is kept; a stopped
run goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn

import onefold
from benchmarks.common.groups import Group
from benchmarks.default.record import keep, kept
from benchmarks.polish.members import polish_groups
from onefold.measure.paired import mean_error

IMAGES = 5000
PROBABILITIES = "probabilities"
BEST, FOLD = "best member", "fold"
CROPS, MEASURED = {"views": "crops_flips"}, {"batchnorm": "reestimate"}
PLANS: dict[str, dict[str, Any]] = {
    "3 passes at 1e-4": {"passes": 3, "lr": 1e-4},
    "3 passes at 1e-4, norms re-estimated": {"passes": 3, "lr": 1e-4, **MEASURED},
    "3 passes at 1e-3": {"passes": 3, "lr": 1e-3},
    "3 passes at 1e-3, norms re-estimated": {"passes": 3, "lr": 1e-3, **MEASURED},
    "10 passes at 1e-3": {"passes": 10, "lr": 1e-3},
    "10 passes at 1e-3, crops and flips": {"passes": 10, "lr": 1e-3, **CROPS},
    "10 passes at 1e-3, crops and flips, norms re-estimated": {
        "passes": 10,
        "lr": 1e-3,
        **CROPS,
        **MEASURED,
    },
    "10 passes at 1e-3, mixed": {"passes": 10, "lr": 1e-3, "views": "mixed"},
    "10 passes at 1e-3, mixed, norms re-estimated": {
        "passes": 10,
        "lr": 1e-3,
        "views": "mixed",
        **MEASURED,
    },
    "10 passes at 3e-3, crops and flips": {"passes": 10, "lr": 3e-3, **CROPS},
    "10 passes at 3e-3, crops and flips, norms re-estimated": {
        "passes": 10,
        "lr": 3e-3,
        **CROPS,
        **MEASURED,
    },
    "10 passes at 1e-3, crops and flips, temperature 3": {
        "passes": 10,
        "lr": 1e-3,
        "temperature": 3.0,
        **CROPS,
    },
    "10 passes at 1e-3, crops and flips, cosine, warm-up": {
        "passes": 10,
        "lr": 1e-3,
        "schedule": "cosine",
        "warmup": 0.1,
        **CROPS,
    },
    "40 passes at 1e-3": {"passes": 40, "lr": 1e-3},
    "40 passes at 1e-3, crops and flips": {"passes": 40, "lr": 1e-3, **CROPS},
    "40 passes at 1e-3, crops and flips, norms re-estimated": {
        "passes": 40,
        "lr": 1e-3,
        **CROPS,
        **MEASURED,
    },
}


class Bench:
    """One group: its networks scored, each once."""

    def __init__(self, group: Group, record: dict[str, Any], out: Path, whole: dict[str, Any]):
        self.models = [m.to(memory_format=torch.channels_last) for m in group.models()]
        self.images = group.unlabelled(IMAGES)
        self.parts = {"choices": group.choices().batches(), "test": group.test().batches()}
        self.record, self.out, self.whole = record, out, whole
        self.hits: dict[str, Tensor] = {}  # of the best member
        members = [self.scored(model) for model in self.models]
        best = max(range(len(members)), key=lambda k: members[k]["choices"]["accuracy"])
        self.best = best
        self.hits = {
            part: onefold.evaluate(self.models[best], data).answers.hits.double()
            for part, data in self.parts.items()
        }
        record |= {
            "members": members,
            "best": best,
            "images": sum(map(len, self.images)),
            "ensemble": self.scored(self.models),
        }
        self._fold: nn.Module | None = None
        keep(whole, out)

    def scored(self, model: nn.Module | list[nn.Module]) -> dict[str, dict[str, float]]:
        """Accuracy and NLL on both parts, and the gain over the best member with its error."""
        found = {}
        for part, data in self.parts.items():
            scores = onefold.evaluate(model, data, ensemble=PROBABILITIES)
            found[part] = {"accuracy": round(100 * scores.accuracy, 2), "nll": round(scores.nll, 4)}
            if part in self.hits:
                own = 100 * (scores.answers.hits.double() - self.hits[part])
                found[part] |= {
                    "gain": round(float(own.mean()), 2),
                    "error": round(mean_error(own), 2),
                }
        return found

    def start(self, name: str) -> nn.Module:
        """The network that a distillation starts from."""
        if name == BEST:
            return self.models[self.best]
        if self._fold is None:
            self._fold = onefold.merge(
                self.models,
                self.images,
                align="permutation",
                fold="least_squares",
                ensemble=PROBABILITIES,
                reference=self.best,
            ).model.to(memory_format=torch.channels_last)
            if FOLD not in self.record:
                self.record[FOLD] = self.scored(self._fold)
        return self._fold

    def run(self, start: str, plan: str) -> None:
        """Distil and score, unless that was done before."""
        rows = self.record.setdefault("polished", {}).setdefault(start, {})
        if plan in rows:
            return
        done = onefold.polish(
            self.start(start), self.models, self.images, ensemble=PROBABILITIES, **PLANS[plan]
        )
        rows[plan] = {
            **self.scored(done.model),
            "divergence": [round(done.divergence[0], 4), round(done.divergence[-1], 4)],
            "seconds": round(done.seconds, 1),
            "estimated": round(done.estimated_seconds, 1),
        }
        keep(self.whole, self.out)
        choices, test = rows[plan]["choices"], rows[plan]["test"]
        print(
            f"  {start:<12} {plan:<54} {choices['gain']:+.2f} {test['gain']:+.2f}"
            f" ± {test['error']:.2f}  NLL {test['nll']:.3f}  {done.seconds:.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=Path, default=Path("members"))
    parser.add_argument("--groups", nargs="*", help="default: all whose members are there")
    parser.add_argument("--plans", nargs="*", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--starts", nargs="*", default=[BEST, FOLD], choices=[BEST, FOLD])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    groups, whole = polish_groups(arguments.members), kept(arguments.out)
    for name in arguments.groups or groups:
        group = groups[name]
        if group.missing:
            print(f"{name}: {', '.join(group.missing)} not there", flush=True)
            continue
        bench = Bench(group, whole.setdefault(name, {}), arguments.out, whole)
        best, ensemble = bench.record["members"][bench.best], bench.record["ensemble"]
        print(
            f"{name}: best member {best['test']['accuracy']:.2f}, ensemble"
            f" {ensemble['choices']['gain']:+.2f} {ensemble['test']['gain']:+.2f}",
            flush=True,
        )
        for plan in arguments.plans:
            for start in arguments.starts:
                bench.run(start, plan)


if __name__ == "__main__":
    main()
