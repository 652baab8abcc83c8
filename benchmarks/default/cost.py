"""What the default costs beside the cheapest single method, an average after permutation.

    python benchmarks/default/cost.py --out benchmarks/results/default/cost.json
    python benchmarks/default/cost.py --rounds 1 --networks vgg11 --out part.json
    python benchmarks/default/cost.py --table benchmarks/results/default/cost.json

Two members with random weights, of VGG11 with a quarter of its channels, ResNet-20, and the
pre-norm transformer of benchmarks/transformers. What a default does depends on what the members
know, so it is timed three times, and the table says what it took:

- "unlike": without labels, each member answers its own half of the classes (by its last bias);
- "alike": without labels, a member and the same with 1 % of noise in its weights, which share an
  origin as far as one can tell;
- "labels": the unlike pair, with 500 labels that are the first member's answers, one in five of
  them drawn anew.

Seconds are those of one thread on a core. Rounds are interleaved, a ratio is taken within its
round, medians over the rounds are shown.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn

import onefold
from benchmarks.default.candidates import timed
from benchmarks.default.cost_table import table
from benchmarks.default.record import keep, kept
from benchmarks.default.run import chosen
from benchmarks.transformers.tasks import LENGTH, PreNorm
from onefold.sources.networks import resnet20, vgg11

WORDS, LABELLED, BATCH = 2000, 500, 100
BIAS = 20.0  # added to the logits of the classes that a member answers
Batch = Any


@dataclass(frozen=True)
class Subject:
    """build: a network with random weights. batch: makes one batch of inputs. images: how many."""

    build: Callable[[], nn.Module]
    batch: Callable[[], Batch]
    images: int


def pictures() -> Tensor:
    """A batch of random images."""
    return torch.randn(BATCH, 3, 32, 32)


def sentences() -> dict[str, Tensor]:
    """A batch of random words."""
    words = torch.randint(2, WORDS, (BATCH, LENGTH))
    return {"input_ids": words, "attention_mask": torch.ones_like(words)}


SUBJECTS = {
    "vgg11": Subject(lambda: vgg11(0.25), pictures, 2000),
    "resnet20": Subject(resnet20, pictures, 500),
    "transformer": Subject(lambda: PreNorm(WORDS), sentences, 500),
}


def last_bias(model: nn.Module) -> nn.Parameter:
    """The bias of the last linear layer."""
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    return last.bias


def pairs(subject: Subject) -> dict[str, list[nn.Module]]:
    """Two members that are unlike, and two that are alike."""
    torch.manual_seed(0)
    unlike = [subject.build().eval() for _ in range(2)]
    alike = [copy.deepcopy(unlike[0]) for _ in range(2)]
    with torch.no_grad():
        for weight in alike[1].parameters():
            weight += 0.01 * torch.randn_like(weight) * (weight.std() if weight.numel() > 1 else 1)
        for k, model in enumerate(unlike):
            bias = last_bias(model)
            half = len(bias) // 2
            bias[half * k : half * (k + 1)] += BIAS
    return {"unlike": unlike, "alike": alike}


def labelled(model: nn.Module, subject: Subject) -> list[Batch]:
    """Labelled batches whose labels are one member's answers, one in five drawn anew."""
    found = []
    for _ in range(LABELLED // BATCH):
        inputs = subject.batch()
        with torch.no_grad():
            logits = model(**inputs) if isinstance(inputs, dict) else model(inputs)
        labels = logits.argmax(1)
        anew = torch.rand(len(labels)) < 0.2
        labels[anew] = torch.randint(logits.shape[1], (int(anew.sum()),))
        whole = inputs | {"labels": labels} if isinstance(inputs, dict) else (inputs, labels)
        found.append(whole)
    return found


def measure(subject: Subject, rounds: int) -> dict[str, Any]:
    """Seconds of every way in every round, and what the default took."""
    members = pairs(subject)
    images = [subject.batch() for _ in range(subject.images // BATCH)]
    validation = labelled(members["unlike"][0], subject)
    ways: dict[str, tuple[list[nn.Module], dict[str, Any]]] = {
        "permutation": (members["unlike"], {"align": "permutation", "fold": "average"}),
        "unlike": (members["unlike"], {}),
        "alike": (members["alike"], {}),
        "labels": (members["unlike"], {"validation": validation}),
    }
    found: dict[str, Any] = {name: {"seconds": [], "choice": ""} for name in ways}
    onefold.merge(members["unlike"], images, align="permutation")  # what is loaded on first use
    for _ in range(rounds):
        for name, (models, options) in ways.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result, seconds = timed(
                    lambda models=models, options=options: onefold.merge(models, images, **options)
                )
            found[name]["seconds"].append(round(seconds, 3))
            found[name]["choice"] = chosen(result.report)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("cost.json"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--table", type=Path, help="print the table of such a file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.table:
        print("\n".join(table(json.loads(arguments.table.read_text()))))
        return
    record = kept(arguments.out)
    for name in arguments.networks:
        if name not in record:
            record[name] = measure(SUBJECTS[name], arguments.rounds)
            keep(record, arguments.out)
    print("\n".join(table(record)))


if __name__ == "__main__":
    main()
