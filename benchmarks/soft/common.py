"""What the soft-merging benchmarks share: members, data in three parts, accuracies."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import onefold
from onefold.sources import build_data
from onefold.sources.networks import ResNet, resnet20, smallcnn

Batches = list[tuple[Tensor, Tensor]]
FOLDER = os.environ.get("ONEFOLD_DATA", "../shared/data")
NETWORKS: dict[str, Callable[[], nn.Module]] = {"smallcnn": smallcnn, "resnet20-brief": resnet20}
DATA = {"smallcnn": f"idx:{FOLDER}/fashion_mnist", "resnet20-brief": f"parquet:{FOLDER}/cifar10"}
HELD_OUT = {
    "smallcnn": 55000,
    "resnet20-brief": 45000,
}  # the members saw none of the training images from here on
# The two classes that each member lacks. Of CIFAR-10, 2 and 3 (bird, cat) are the hardest; the
# member that lacks both would be ahead.
PAIRS = {
    "smallcnn": [(k, k + 1) for k in range(0, 10, 2)],
    "resnet20-brief": [(k, k + 5) for k in range(5)],
}
GROUPS, MEMBERS, LABELLED = 3, 5, 500


def load(folder: Path, network: str, stem: str) -> nn.Module:
    """One trained member in evaluation mode."""
    model = NETWORKS[network]()
    model.load_state_dict(onefold.load(folder / f"{network}{stem}.safetensors"))
    return model.eval()


def honest(folder: Path, network: str, group: int) -> list[nn.Module]:
    """Five members trained from different seeds on the same images."""
    return [load(folder, network, f"-seed{MEMBERS * group + k}") for k in range(MEMBERS)]


def lacking(folder: Path, network: str, group: int) -> list[nn.Module]:
    """Five members, each of which never saw two of the ten classes."""
    return [load(folder, network, f"-without{a}{b}-seed{group}") for a, b in PAIRS[network]]


def siblings(folder: Path, network: str, group: int) -> list[nn.Module]:
    """As `lacking`, but all five went on from one network that was trained briefly on other images
    of all classes.
    """
    return [
        load(folder, network, f"-from-origin-without{a}{b}-seed{group}") for a, b in PAIRS[network]
    ]


def origin(folder: Path, network: str, group: int) -> nn.Module:
    """The network that `siblings` went on from."""
    return load(folder, network, f"-origin-seed{group}")


def in_two(network: nn.Module) -> nn.Module:
    """The same network as a body and a head, its tensors shared: two modules to gate.

    Networks that already have two come as they are.
    """
    if not isinstance(network, ResNet):
        return network
    body = nn.Sequential(
        network.conv1,
        network.bn1,
        nn.ReLU(),
        network.layer1,
        network.layer2,
        network.layer3,
        network.avgpool,
        nn.Flatten(),
    )
    return nn.Sequential(OrderedDict(body=body, head=network.linear)).eval()


def parts(network: str, test: int | None = None) -> tuple[Batches, Batches, Batches]:
    """500 labelled images for gates, the other held-out images to choose settings with, and test
    images.
    """
    labelled = list(
        build_data(
            DATA[network], split="train", skip=HELD_OUT[network], limit=LABELLED, batch_size=250
        )
    )
    choose = list(
        build_data(DATA[network], split="train", skip=HELD_OUT[network] + LABELLED, batch_size=250)
    )
    return (
        labelled,
        choose,
        list(build_data(DATA[network], split="test", limit=test, batch_size=250)),
    )


@torch.no_grad()
def logits_on(model: nn.Module, data: Batches) -> Tensor:
    """All logits of a network in evaluation mode."""
    model.eval()
    return torch.cat([model(x) for x, _ in data])


def labels_of(data: Batches) -> Tensor:
    """All labels."""
    return torch.cat([y for _, y in data])


def accuracy(model: nn.Module | Sequence[nn.Module], data: Batches) -> float:
    """Accuracy in percent of a network, or of the ensemble of several (mean of probabilities)."""
    return 100.0 * onefold.evaluate(model, data).accuracy


class Recorded(nn.Module):
    """A member whose logits on some images are known: its inputs are their numbers.

    What acts on outputs alone then costs no forward pass.
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits, requires_grad=False)

    def forward(self, index: Tensor) -> Tensor:
        return self.logits[index]


def numbered(*data: Batches) -> list[Batches]:
    """The same labels with the images' numbers as inputs, counted through all parts."""
    parts, start = [], 0
    for part in data:
        labels = labels_of(part)
        numbers = torch.arange(start, start + len(labels))
        parts.append(list(zip(numbers.split(250), labels.split(250), strict=True)))
        start += len(labels)
    return parts


def recorded(model: nn.Module, *data: Batches) -> Recorded:
    """A member's logits on all parts."""
    return Recorded(torch.cat([logits_on(model, part) for part in data]))
