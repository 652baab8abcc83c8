"""The networks of the benchmarks by name, each with its data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from onefold.sources.networks import digits, resnet20, smallcnn, vgg11


@dataclass(frozen=True)
class Network:
    """build: makes it with fresh weights. data: the name of its data set (`load_data`)."""

    build: Callable[[], nn.Module]
    data: str


NETWORKS = {
    "resnet20": Network(resnet20, "cifar10"),
    "resnet20-wide": Network(lambda: resnet20(4.0), "cifar10"),
    "vgg11": Network(lambda: vgg11(0.25, norm=True), "cifar10"),
    "vgg11-eighth": Network(lambda: vgg11(0.125, norm=True), "cifar10"),
    "vgg11-full": Network(lambda: vgg11(1.0, norm=True), "cifar10"),
    "vgg11-plain": Network(lambda: vgg11(0.25), "cifar10"),
    "smallcnn": Network(smallcnn, "fashion_mnist"),
    "digits": Network(lambda: digits(8), "digits"),
}
