"""A small U-Net on canvases with masks: which kind of item each pixel shows.

Six kinds of items and the background; one to three items on a canvas.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.tasks.canvases import Recipe, canvases
from benchmarks.tasks.examples import Sizes
from benchmarks.tasks.registry import Benchmark, Training, benchmark

RECIPE = Recipe((0, 1, 2, 5, 8, 9), ((0, 1, 4), (2, 3, 5)), (1, 3), masks=True, noise=0.06)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, each with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class SmallUNet(nn.Module):
    """Two steps down and two up, whose inputs are concatenated with what went down: images
    (n, 1, h, w) to logits (n, classes, h, w); h and w are multiples of 4.
    """

    def __init__(self, classes: int, width: int = 12) -> None:
        super().__init__()
        self.down1, self.down2 = _double(1, width), _double(width, 2 * width)
        self.bottom = _double(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.join2 = _double(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join1 = _double(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.bottom(F.max_pool2d(second, 2))
        x = self.join2(torch.cat([self.up2(x), second], 1))
        x = self.join1(torch.cat([self.up1(x), first], 1))
        logits: Tensor = self.head(x)
        return logits


@benchmark("segmentation")
def segmentation() -> Benchmark:
    """Seven classes: the background and six kinds."""
    return Benchmark(
        name="segmentation",
        task="segmentation",
        title="a small U-Net with batch norm, items of Fashion-MNIST on noisy canvases",
        shares="canvases with three of the six kinds of items, and one in ten with the others",
        build=lambda: SmallUNet(len(RECIPE.kinds) + 1),
        load=lambda sizes: canvases(RECIPE, sizes),
        loss=F.cross_entropy,
        sizes=Sizes(2500, unlabelled=500, choices=300, test=1000),
        training=Training(epochs=5, lr=5e-3, batch=16, bfloat16=True),
    )
