"""A multi-label network on canvases: which of seven kinds of items are there.

One to three items on a canvas; a kind is there if 20 of its pixels or more can be seen.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from benchmarks.tasks.canvases import Recipe, canvases
from benchmarks.tasks.examples import Sizes
from benchmarks.tasks.registry import Benchmark, Training, benchmark

RECIPE = Recipe((0, 1, 2, 5, 7, 8, 9), ((0, 1, 4), (2, 3, 5, 6)), (1, 3), masks=False, noise=0.1)


def convolutions(inputs: int, outputs: int, width: int, pool: nn.Module) -> nn.Sequential:
    """Five convolutions with batch norm, a pool over all places, a linear layer."""
    layers: list[nn.Module] = []
    for k, size in enumerate((width, 2 * width, 2 * width, 4 * width, 4 * width)):
        stride = 2 if k % 2 else 1
        layers += [
            nn.Conv2d(inputs, size, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(size),
            nn.ReLU(),
        ]
        inputs = size
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(inputs, outputs))


@benchmark("several_labels")
def several_labels() -> Benchmark:
    """Seven kinds, labels 0 and 1."""
    return Benchmark(
        name="several_labels",
        task="multilabel",
        title="five convolutions with batch norm, up to three of seven kinds of items on a canvas",
        shares="canvases with three or four of the seven kinds, and one in ten with the others",
        build=lambda: convolutions(1, len(RECIPE.kinds), 16, nn.AdaptiveMaxPool2d(1)),
        load=lambda sizes: canvases(RECIPE, sizes),
        loss=F.binary_cross_entropy_with_logits,
        sizes=Sizes(6000, unlabelled=1000, choices=500, test=2000),
        training=Training(epochs=5, lr=4e-3),
    )
