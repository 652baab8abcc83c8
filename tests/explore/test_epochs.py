"""Batches in an order that depends on seed and epoch alone, and images moved by known amounts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from torch import Tensor

from onefold.batches import Batch
from onefold.errors import DataError
from onefold.explore.epochs import Epochs, flip_and_crop, share
from onefold.generators import generators_kept
from onefold.sources import ImageBatches
from onefold.sources.loader import Images


def images(n: int = 23) -> ImageBatches:
    return ImageBatches(Images(torch.rand(n, 1, 4, 4), torch.arange(n), classes=n), batch_size=5)


def by_generator_of_the_process(seed: int) -> Iterable[tuple[Tensor, Tensor]]:
    order = torch.randperm(23)  # whatever seed it is given
    return [(part[:, None].float(), part) for part in order.split(5)]


def order(epochs: Epochs, number: int, process: int = 0) -> list[int]:
    return [int(label) for batch in epochs.epoch(number, process) for label in batch.labels]


@pytest.mark.parametrize("data", [images, lambda: by_generator_of_the_process])
def test_the_order_depends_on_seed_and_epoch_alone(data: Callable) -> None:
    epochs = Epochs(data(), seed=1)
    torch.manual_seed(0)
    first = order(epochs, 0)
    assert sorted(first) == list(range(23))
    assert order(epochs, 1) != first
    torch.manual_seed(7)
    assert (
        order(Epochs(data(), seed=1), 0, process=1) == first
    )  # in another process, after another history
    assert order(Epochs(data(), seed=2), 0) != first


def test_processes_draw_dropout_of_their_own_and_leave_generators_as_they_were() -> None:
    before = np.random.get_state()[1].copy(), random.getstate()
    drawn = []
    with generators_kept():
        for process in (0, 1, 0):
            next(iter(Epochs(images(), 0).epoch(0, process)))
            drawn.append((float(torch.rand(())), np.random.rand(), random.random()))
    assert drawn[0] == drawn[2]
    assert all(a != b for a, b in zip(drawn[0], drawn[1], strict=True))
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert random.getstate() == before[1]


@pytest.mark.parametrize("kind", ["masks", "numbers"])
def test_labels_of_pixels_move_with_their_images(kind: str) -> None:
    pictures = torch.randint(1, 50, (12, 1, 8, 8)).float()
    labels = pictures[:, 0].long() if kind == "masks" else pictures * 0.5
    epochs = Epochs(lambda seed: [(pictures, labels)], seed=1, augment="flip-crop")
    (batch,) = epochs.epoch(0)
    x, y = batch.args[0], batch.labels
    alone = Epochs(lambda seed: [(pictures, labels[:, 0, 0])], seed=1, augment="flip-crop")
    assert torch.equal(x, next(iter(alone.epoch(0))).args[0])
    assert y.dtype == labels.dtype
    inside = x > 0
    assert not inside.all()
    if kind == "masks":
        assert torch.equal(y, torch.where(inside, x, -100)[:, 0].long())
    else:
        assert torch.equal(y.isnan(), ~inside)
        assert torch.equal(y[inside], x[inside] * 0.5)
    two = Epochs(lambda seed: [((pictures, pictures), labels)], seed=1, augment="flip-crop")
    with pytest.raises(DataError, match="labels of pixels and 2 images"):
        next(iter(two.epoch(0)))


def test_shares_make_up_the_batch() -> None:
    batch = Batch((torch.arange(7), "kept"), {"mask": torch.arange(7) * 10}, torch.arange(7))
    parts = [share(batch, process, 3) for process in range(3)]
    assert sorted(int(v) for part in parts for v in part.args[0]) == list(range(7))
    for part in parts:
        assert torch.equal(part.args[0] * 10, part.kwargs["mask"])
        assert torch.equal(part.args[0], part.labels)
        assert part.args[1] == "kept"


def test_every_image_is_mirrored_or_not_and_moved_by_a_known_amount() -> None:
    original = torch.arange(1.0, 1 + 3 * 2 * 8 * 8).view(3, 2, 8, 8).repeat(60, 1, 1, 1)
    moved = flip_and_crop(original, torch.Generator().manual_seed(0))
    seen = set()
    for before, after in zip(original, moved, strict=True):
        found = []
        for flip in (False, True):
            padded = torch.zeros(2, 10, 10)
            padded[:, 1:9, 1:9] = before.flip(-1) if flip else before
            found += [
                (flip, y, x)
                for y in range(3)
                for x in range(3)
                if torch.equal(padded[:, y : y + 8, x : x + 8], after)
            ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 18  # every combination occurs
