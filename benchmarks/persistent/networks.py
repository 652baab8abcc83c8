"""The networks and data of the benchmark of persistent training on images, and the initialisations
it starts from.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.sources import build_data
from onefold.sources.networks import resnet20

Images = tuple[Tensor, Tensor]


class LeNet5(nn.Module):
    """LeCun et al. 1998, with ReLU and max pooling: (n, 1, 28, 28) images to (n, classes) logits;
    62,000 parameters.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.f1, self.f2, self.f3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.c1(x).relu(), 2)
        x = F.max_pool2d(self.c2(x).relu(), 2)
        return self.f3(self.f2(self.f1(x.flatten(1)).relu()).relu())  # type: ignore[no-any-return]


class SmallAlexNet(nn.Module):
    """Krizhevsky et al. 2012, five convolutions and two linear layers: (n, 3, 32, 32) images to (n,
    classes) logits; 282,000 parameters.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 96, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(96, 96, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(96, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.f1, self.f2 = nn.Linear(256, 128), nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.f2(self.f1(self.features(x).flatten(1)).relu())  # type: ignore[no-any-return]


# scale: what the He initialisation of the weights is multiplied with; None leaves the network's own
# initialisation
TASKS: dict[str, dict[str, Any]] = {
    "lenet-good": {
        "build": LeNet5,
        "data": "idx:{}/fashion_mnist",
        "scale": 1.0,
        "size": 28,
        "steps": 248,
        "rates": (0.02,),
    },
    "lenet-tiny": {
        "build": LeNet5,
        "data": "idx:{}/fashion_mnist",
        "scale": 0.25,
        "size": 28,
        "steps": 248,
        "rates": (0.02,),
    },
    "alexnet": {
        "build": SmallAlexNet,
        "data": "parquet:{}/cifar10",
        "scale": 1.0,
        "size": 32,
        "steps": 248,
        "rates": (0.01, 0.03, 0.1),
    },
    "resnet20": {
        "build": resnet20,
        "data": "parquet:{}/cifar10",
        "scale": None,
        "size": 12,
        "steps": 250,
        "rates": (0.03, 0.1, 0.3),
    },
}
TRAIN, HELD_OUT, TEST = 4000, 2000, 4000


def initialised(task: dict[str, Any], seed: int) -> nn.Module:
    """A network from its seed: weights of convolutions and linear layers by He et al. 2015 times
    the task's scale, biases 0.
    """
    torch.manual_seed(seed)
    model: nn.Module = task["build"]()
    if task["scale"] is not None:
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
                with torch.no_grad():
                    module.weight.mul_(task["scale"])
    return model


def images_of(task: dict[str, Any], data: str) -> dict[str, Images]:
    """Training, held-out and test images of mean 0 and deviation 1, the first two drawn from the
    training set at random.
    """
    found = {}
    for split in ("train", "test"):
        batches = list(build_data(task["data"].format(data), split=split, batch_size=1000))
        size = task["size"]
        x = torch.cat(
            [
                F.interpolate(x, size=(size, size), mode="area") if x.shape[-1] != size else x
                for x, _ in batches
            ]
        )
        found[split] = (
            x.contiguous(memory_format=torch.channels_last),
            torch.cat([y for _, y in batches]),
        )
    (x, y), (xt, yt) = found["train"], found["test"]
    mean, deviation = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    x, xt = (x - mean) / deviation, (xt - mean) / deviation
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    own, other = order[:TRAIN], order[TRAIN : TRAIN + HELD_OUT]
    test = torch.randperm(len(yt), generator=torch.Generator().manual_seed(2))[:TEST]
    return {
        "train": (x[own], y[own]),
        "held-out": (x[other], y[other]),
        "test": (xt[test], yt[test]),
    }
