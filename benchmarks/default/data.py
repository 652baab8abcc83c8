"""Small image data in the four parts of `benchmarks.common.data`, and draws from them by number.

| name    | images                           | seen   | unlabelled | choices | test   |
|---------|----------------------------------|--------|------------|---------|--------|
| digits  | scikit-learn's digits, 8x8       | 697    | 300        | 300     | 500    |
| fashion | Fashion-MNIST, 28x28             | 50,000 | 5,000      | 5,000   | 10,000 |
| easy    | its classes of EASY              | 30,000 | 3,000      | 3,000   | 6,000  |

Counts of "easy" are rounded; small networks tell 98 % of it right, as of digits. "cifar10" is as
`load_data` has it.

A draw by number is a random part of "unlabelled" and one of "choices".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.common.data import Data, Part, load_data
from onefold.sources import build_data

EASY = (0, 1, 4, 5, 8, 9)  # T-shirt, trousers, coat, sandal, bag, ankle boot
CUTS = (0, 697, 997, 1297, 1797)
UNLABELLED, LABELLED = 1500, 500  # images of a draw
OF_DIGITS = 250, 200  # the same of digits
FIRST_UNLABELLED = 1000  # the seed of the first draw of unlabelled images


@dataclass(frozen=True)
class Draw:
    """unlabelled: batches of images. labelled: batches of (images, labels)."""

    unlabelled: list[Tensor]
    labelled: list[tuple[Tensor, Tensor]]


@lru_cache(maxsize=3)
def small_data(name: str) -> Data:
    """The data set of this module's table."""
    if name == "digits":
        parts = [list(build_data("sklearn:digits", split=split)) for split in ("train", "test")]
        images = torch.cat([x for part in parts for x, _ in part])
        labels = torch.cat([y for part in parts for _, y in part])
        ends = pairwise(CUTS)
        return Data(*(Part(images[a:b], labels[a:b]) for a, b in ends))
    if name == "cifar10":
        return load_data(name)
    whole = load_data("fashion_mnist")
    if name == "fashion":
        return whole
    parts_of = (whole.seen, whole.unlabelled, whole.choices, whole.test)
    return Data(*(_of_classes(part, EASY) for part in parts_of))


def draw(name: str, number: int) -> Draw:
    """The draw of that number; labels have no part in it."""
    data = small_data(name)
    sizes = OF_DIGITS if name == "digits" else (UNLABELLED, LABELLED)
    without = _part(data.unlabelled, sizes[0], FIRST_UNLABELLED + number)
    with_labels = _part(data.choices, sizes[1], number)
    return Draw(without.unlabelled(), with_labels.batches(100))


def _part(part: Part, size: int, seed: int) -> Part:
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:size]
    return Part(part.images[order], part.labels[order])


def _of_classes(part: Part, classes: tuple[int, ...]) -> Part:
    """The images of these classes, which are numbered anew in their order."""
    number = torch.full((10,), -1)
    number[list(classes)] = torch.arange(len(classes))
    labels = number[part.labels]
    return Part(part.images[labels >= 0], labels[labels >= 0])
