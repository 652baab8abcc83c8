r"""Rounds of persistent training on images, beside as many restarts, reruns from the same start, a
snapshot ensemble and the uninformed control.

    python benchmarks/persistent/images.py lenet-tiny \
        --out benchmarks/results/persistent/lenet-tiny.json

Every way has the same number of rounds of as many steps. The learning rate (where there is a
choice) is chosen for plain training, the strength for each way, by the best round's accuracy on
held-out training images, with a seed of its own; the best round too is the best on those. All ways
but the restarts share their first round. Restarts begin from other initialisations, reruns see the
data in another order, snapshots go on from where the last round ended (Huang et al. 2017, arXiv
1704.00109), each with the learning rate of the first.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import CONTROL
from networks import TASKS, Images, images_of, initialised
from table import against, spread
from torch import Tensor, nn

import onefold
from onefold.measure import barrier

ROUNDS, BATCH, CHOOSING = 3, 64, 100
STRENGTHS = (1.0, 10.0)
KERNELS: dict[str, dict[str, Any]] = {
    "gaussian, all": {},
    "gaussian, all, mirror": {"mirror": True},
    "gaussian, first": {"scope": "first"},
    "gaussian, head": {"scope": "head"},
    "inverse, all": {"kernel": "inverse"},
    "hinge, all": {"kernel": "hinge", "width": 1.5},
    "cosine, all": {"kernel": "cosine"},
    "function": {"kernel": "function"},
}
BASELINES = ("restarts", "reruns", "snapshots")


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model.eval()(x) for x in images.split(500)])


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    return 100 * float((outputs.argmax(1) == labels).double().mean())


class Rounds:
    """All ways to train three rounds of one network from one seed."""

    def __init__(
        self, task: dict[str, Any], images: dict[str, Images], seed: int, rate: float
    ) -> None:
        self.task, self.images, self.seed, self.rate = task, images, seed, rate
        self.first = self.initial()
        self.train(self.first, order=0)

    def initial(self, number: int = 0) -> nn.Module:
        return initialised(self.task, 1000 * number + self.seed)

    def train(
        self, model: nn.Module, order: int, run: onefold.PersistentTraining | None = None
    ) -> None:
        """One round of SGD with momentum, whose rate falls to a tenth after 70 % of the steps."""
        (x, y), steps = self.images["train"], self.task["steps"]
        generator = torch.Generator().manual_seed(100 * self.seed + order)
        optimiser = torch.optim.SGD(model.parameters(), self.rate, momentum=0.9)
        model.train()
        order_of = itertools.chain.from_iterable(
            torch.randperm(len(y), generator=generator).split(BATCH)[: len(y) // BATCH]
            for _ in itertools.count()
        )
        for step, index in zip(range(steps), order_of, strict=False):
            for group in optimiser.param_groups:
                group["lr"] = self.rate * (1 if step < 0.7 * steps else 0.1)
            loss = F.cross_entropy(model(x[index]), y[index])
            if run is not None:
                loss = loss + run.penalty()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            if run is not None:
                run.step()

    def score(self, model: nn.Module) -> float:
        return accuracy(logits(model, self.images["held-out"][0]), self.images["held-out"][1])

    def baseline(self, name: str) -> list[nn.Module]:
        found = [self.first]
        for number in range(1, ROUNDS):
            model = {
                "restarts": self.initial(number),
                "reruns": self.initial(),
                "snapshots": copy.deepcopy(found[-1]),
            }[name]
            self.train(model, order=number)
            found.append(model)
        return found

    def persistent(self, options: dict[str, Any]) -> list[nn.Module]:
        model = self.initial()
        if options.get("kernel") == "function":
            options = {**options, "reference": self.images["train"][0][:128]}
        run = onefold.PersistentTraining(model, self.task["steps"], seed=self.seed, **options)
        model.load_state_dict(self.first.state_dict())  # nothing repels in the first round
        run.record(self.score(model))
        for _ in range(1, ROUNDS):
            run.restart()
            self.train(model, 0, run)
            run.record(self.score(model))
        return [run.network(number) for number in range(ROUNDS)]

    def found(self, way: str, options: dict[str, Any]) -> list[nn.Module]:
        return self.baseline(way) if way in BASELINES else self.persistent(options)

    def measure(self, networks: list[nn.Module]) -> dict[str, Any]:
        """Test accuracy of every round, of the best on held-out images and of the ensemble;
        disagreement in percent and barrier in nats of pairs.
        """
        x, y = self.images["test"]
        outputs = [logits(network, x) for network in networks]
        scores = [self.score(network) for network in networks]
        each = [accuracy(o, y) for o in outputs]
        calibration = list(self.images["train"][0][:500].split(250))
        data = [(a, b) for a, b in zip(x[:500].split(250), y[:500].split(250), strict=True)]
        normed = any(isinstance(m, nn.BatchNorm2d) for m in networks[0].modules())
        extra: dict[str, Any] = (
            {"recalibrate": "batchnorm", "calibration_data": calibration} if normed else {}
        )
        barriers, aligned = [], []
        for a, b in itertools.combinations(networks, 2):
            barriers.append(barrier(a, b, data, points=5, **extra).barrier)
            moved = onefold.align([a, b], calibration, method="permutation").apply([a, b])
            aligned.append(barrier(*moved, data, points=5, **extra).barrier)
        disagreement = [
            100 * float((a.argmax(1) != b.argmax(1)).double().mean())
            for a, b in itertools.combinations(outputs, 2)
        ]
        return {
            "rounds": each,
            "best": each[max(range(len(scores)), key=lambda k: scores[k])],
            "best held-out": max(scores),
            "ensemble": accuracy(torch.stack([o.softmax(-1) for o in outputs]).mean(0), y),
            "disagreement": statistics.mean(disagreement),
            "barrier": statistics.mean(barriers),
            "barrier, aligned": statistics.mean(aligned),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--ways", nargs="+", default=list(KERNELS), choices=list(KERNELS))
    parser.add_argument("--controls", nargs="+", default=["gaussian, all"], choices=list(KERNELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = TASKS[arguments.task]
    images = images_of(task, arguments.data)
    options = {way: KERNELS[way] for way in arguments.ways} | {
        CONTROL + way: {**KERNELS[way], "control": True} for way in arguments.controls
    }
    choosing = {rate: Rounds(task, images, CHOOSING, rate) for rate in task["rates"]}
    tried: dict[str, Any] = {
        "rate": {str(rate): one.score(one.first) for rate, one in choosing.items()}
    }
    rate = max(choosing, key=lambda rate: tried["rate"][str(rate)])
    print(tried["rate"], flush=True)
    for way in options:
        tried[way] = {
            s: max(
                map(
                    choosing[rate].score, choosing[rate].persistent({**options[way], "strength": s})
                )
            )
            for s in STRENGTHS
        }
        options[way] = {**options[way], "strength": max(STRENGTHS, key=lambda s: tried[way][s])}
        print(way, tried[way], flush=True)
    record: dict[str, Any] = {
        "task": arguments.task,
        "steps": task["steps"],
        "rate": rate,
        "tried": tried,
        "settings": options,
        "ways": {},
    }
    record |= {
        "seeds": arguments.seeds,
        "best control": max(
            (w for w in options if w.startswith(CONTROL)), key=lambda w: max(tried[w].values())
        ),
    }
    for seed in arguments.seeds:
        start = time.perf_counter()
        one = Rounds(task, images, seed, rate)
        for way in (*BASELINES, *options):
            record["ways"].setdefault(way, []).append(
                one.measure(one.found(way, options.get(way, {})))
            )
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    for way, found in record["ways"].items():
        rounds = [spread([one["rounds"][k] for one in found]) for k in range(ROUNDS)]
        gain = against(
            [one["best"] for one in found],
            [one["best"] for one in record["ways"][record["best control"]]],
        )
        print(
            way,
            rounds,
            {key: spread([one[key] for one in found]) for key in found[0] if key != "rounds"},
            "above best control",
            gain,
            flush=True,
        )


if __name__ == "__main__":
    main()
