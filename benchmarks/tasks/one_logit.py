"""A classifier of one logit on CIFAR-10: animal (1) or vehicle (0)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common.data import Part, load_data
from benchmarks.tasks.examples import Examples, Parts, Sizes
from benchmarks.tasks.registry import Benchmark, Training, benchmark
from benchmarks.tasks.several_labels import convolutions

VEHICLES = torch.tensor([0, 1, 8, 9])
FIRST = torch.tensor([0, 3, 5, 8])  # airplane, cat, dog, ship
OTHERS = 0.02  # more of them, and a member knows them all


def _examples(part: Part, index: Tensor) -> Examples:
    animal = ~torch.isin(part.labels[index], VEHICLES)
    return Examples({"images": part.images[index]}, animal.float())


def _load(sizes: Sizes) -> Parts:
    data = load_data("cifar10")
    first = torch.isin(data.seen.labels, FIRST)
    own, other = torch.nonzero(first).flatten(), torch.nonzero(~first).flatten()
    rare = max(1, round(OTHERS * sizes.seen))
    seen = {
        "all": torch.arange(sizes.seen),
        "first": torch.cat([own[: sizes.seen - rare], other[:rare]]),
        "second": torch.cat([other[: sizes.seen - rare], own[:rare]]),
    }
    return Parts(
        {name: _examples(data.seen, index) for name, index in seen.items()},
        _examples(data.unlabelled, torch.arange(sizes.unlabelled)),
        _examples(data.choices, torch.arange(sizes.choices)),
        _examples(data.test, torch.arange(sizes.test)),
    )


def _loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs.flatten(), labels)


def _build() -> nn.Module:
    return convolutions(3, 1, 16, nn.AdaptiveAvgPool2d(1))


@benchmark("one_logit")
def one_logit() -> Benchmark:
    """Outputs (n, 1), labels (n,) of 0 and 1."""
    return Benchmark(
        name="one_logit",
        task="binary",
        title="five convolutions with batch norm, animal or vehicle on CIFAR-10",
        shares="airplanes, ships, cats and dogs, or the other six; one image in fifty of the rest",
        build=_build,
        load=_load,
        loss=_loss,
        sizes=Sizes(8000, unlabelled=1000, choices=500, test=4000),
        training=Training(epochs=8, lr=3e-3),
    )
