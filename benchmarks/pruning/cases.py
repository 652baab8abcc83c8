"""The networks that are pruned, each with its data: `CASES`.

ResNet-20 and VGG11/4 are members of benchmarks/members. The others are trained by
benchmarks/pruning/train.py and kept in the folder that ONEFOLD_PRUNING_STATE names (default:
~/.cache/onefold/pruning).

| part        | what it is                                        | purpose                    |
|-------------|---------------------------------------------------|----------------------------|
| seen        | what the network was trained on                   | fine-tuning with labels    |
| calibration | 4,000 images (text: all of "unlabelled") not seen | pruning, without labels    |
| choices     | labelled training examples that were not seen     | settings                   |
| test        | all test examples                                 | figures that are published |

The criterion of Taylor alone reads the labels of "calibration".
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.common.data import Part, load_data
from benchmarks.common.groups import FILES
from benchmarks.common.networks import NETWORKS
from benchmarks.common.storage import read
from benchmarks.members.roster import ROSTER
from benchmarks.pruning.networks import LSTM, MobileNet, ViT
from benchmarks.pruning.sentences import load_sentences
from benchmarks.pruning.training import Settings

CALIBRATION = 4000  # unlabelled images
TUNING = 5000  # labelled seen examples at most in a pass of fine-tuning


@dataclass(frozen=True)
class Data:
    """One data set in the four parts of this module's table."""

    seen: Part
    calibration: Part
    choices: Part
    test: Part

    def tuning(self) -> Part:
        """The seen examples that fine-tuning takes: 5,000 of them, drawn once."""
        order = torch.randperm(len(self.seen), generator=torch.Generator().manual_seed(7))
        return part_of(self.seen, order[:TUNING])


@dataclass(frozen=True)
class Case:
    """One network.

    name: short. title: in words. network: with fresh weights. data: its data set. training: its
    settings; None for a member of benchmarks/members. member: the name of that.
    """

    name: str
    title: str
    network: Callable[[], nn.Module]
    data: Callable[[], Data]
    training: Settings | None = None
    member: str | None = None

    @property
    def file(self) -> Path:
        """Where the trained weights are kept."""
        if self.member is not None:
            return FILES / f"{self.member}.safetensors"
        return state_folder() / f"{self.name}.safetensors"

    def build(self) -> nn.Module:
        """The network with fresh weights, drawn by the seed of its training."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0 if self.training is None else self.training.seed)
            return self.network()

    def trained(self) -> nn.Module:
        """The trained network in evaluation mode; FileNotFoundError where it is not trained yet."""
        if not self.file.exists():
            raise FileNotFoundError(
                f"'{self.name}' is not trained; run benchmarks/pruning/train.py --name {self.name}."
            )
        model = self.build()
        model.load_state_dict(read(self.file))
        return model.eval()


def part_of(part: Part, index: torch.Tensor | slice) -> Part:
    """The examples at `index`."""
    return replace(part, images=part.images[index], labels=part.labels[index])


def state_folder() -> Path:
    """Where networks are kept that are trained here."""
    home = Path.home() / ".cache" / "onefold" / "pruning"
    return Path(os.environ.get("ONEFOLD_PRUNING_STATE", home))


def images(member: str | None = None) -> Data:
    """CIFAR-10; of a member the seen images are its own share."""
    whole = load_data("cifar10")
    seen = whole.seen
    if member is not None:
        seen = part_of(seen, ROSTER[member].share.indices(seen.labels))
    return Data(seen, part_of(whole.unlabelled, slice(CALIBRATION)), whole.choices, whole.test)


def text(task: str) -> Data:
    """Sentences of TREC or SST-2."""
    whole = load_sentences(task)
    return Data(whole.seen, whole.unlabelled, whole.choices, whole.test)


def _lstm(task: str) -> nn.Module:
    whole = load_sentences(task)
    return LSTM(whole.words, whole.classes)


def _of_member(name: str, title: str) -> Case:
    member = ROSTER[name]
    return Case(
        name, title, NETWORKS[member.network].build, lambda: images(name), None, member.name
    )


CASES = {
    case.name: case
    for case in (
        _of_member("vgg11-same-0", "VGG11/4, CIFAR-10"),
        _of_member("resnet20-halves-0", "ResNet-20, CIFAR-10, trained on 20,000 images"),
        Case(
            "mobilenet",
            "MobileNet of inverted residuals, CIFAR-10",
            MobileNet,
            images,
            Settings(5, 0.2, decay=2e-4),
        ),
        Case(
            "vit",
            "ViT of four blocks, CIFAR-10",
            ViT,
            images,
            Settings(5, 2e-3, "adamw", decay=0.05),
        ),
        Case(
            "lstm-trec",
            "LSTM, TREC",
            lambda: _lstm("trec"),
            lambda: text("trec"),
            Settings(10, 5e-3, "adamw", decay=0.05, batch=32),
        ),
        Case(
            "lstm-sst2",
            "LSTM, SST-2",
            lambda: _lstm("sst2"),
            lambda: text("sst2"),
            Settings(6, 6e-3, "adamw", decay=0.05, batch=32),
        ),
    )
}
