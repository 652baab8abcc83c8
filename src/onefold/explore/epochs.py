"""Training batches whose order depends on a seed and the number of the epoch alone.

A run can therefore be continued where it was stopped.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onefold.augmentation import flipped, shifted
from onefold.batches import Batch, Data, batches
from onefold.errors import DataError
from onefold.sources import ImageBatches


class Epochs:
    """Labelled batches, each epoch in an order of its own.

    Args:
        data: images in memory, which are shuffled here; or a function from a seed to the batches of
            an epoch.
        seed: of all orders.
        augment: "none", or "flip-crop" for images (n, c, h, w), which are mirrored and moved by up
            to an eighth of their height at random, and their masks with them.
    """

    def __init__(
        self, data: ImageBatches | Callable[[int], Data], seed: int, augment: str = "none"
    ) -> None:
        self.data, self.seed, self.augment = data, seed, augment

    def epoch(self, number: int, process: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, the same in every process.

        All generators of this process are seeded, for dropout and the like.

        Args:
            number: of the epoch, from 0.
            process: the number of this process, which seeds the generators once the order is drawn.
        """
        own = seed_all(self.seed, number, 0)
        if isinstance(self.data, ImageBatches):
            found: Data = ImageBatches(
                self.data.images, self.data.batch_size, shuffle=True, seed=own % 2**32
            )
        else:
            found = self.data(own % 2**32)
        generator = torch.Generator().manual_seed(own)
        for batch in batches(found, what="training data"):
            # Data that shuffle by a generator of the process have done so by the first batch.
            if batch.index == 0:
                seed_all(self.seed, number, 1 + process)
            if self.augment == "flip-crop":
                batch = _moved(batch, generator)
            yield batch


def _moved(batch: Batch, generator: torch.Generator) -> Batch:
    """The batch with its images mirrored and moved, and labels of every pixel with them."""
    images = [k for k, x in enumerate(batch.args) if _image(x)]
    labels, args = batch.labels, list(batch.args)
    dense = [k for k in images if labels is not None and labels.shape[-2:] == args[k].shape[-2:]]
    if labels is None or labels.dim() < 3 or not dense:
        dense = []
    elif len(images) > 1:
        raise DataError(
            f"Batch {batch.index} of the training data has labels of pixels and {len(images)}"
            " images, which flip-crop would move apart; leave out augment, or augment them in a"
            " function of your own."
        )
    for k in images:
        if k in dense and labels is not None:
            args[k], labels = flip_and_crop_both(args[k], labels, generator)
        else:
            args[k] = flip_and_crop(args[k], generator)
    return replace(batch, args=tuple(args), labels=labels)


def share(batch: Batch, process: int, processes: int) -> Batch:
    """The examples of a batch that belong to one of several processes: every `processes`-th one."""
    if processes == 1:
        return batch

    def take(value: Any) -> Any:
        return (
            value[process::processes]
            if isinstance(value, Tensor) and value.dim() and len(value) == batch.size
            else value
        )

    return replace(
        batch,
        args=tuple(map(take, batch.args)),
        kwargs={k: take(v) for k, v in batch.kwargs.items()},
        labels=take(batch.labels),
    )


def flip_and_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (n, c, h, w), each mirrored with probability one half and moved at random.

    An image is padded with zeros by an eighth of its height, and a part of the old size is cut out.
    """
    return shifted(flipped(images, generator), generator)


def flip_and_crop_both(
    images: Tensor, labels: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images (n, c, h, w) as `flip_and_crop` moves them, and labels of their pixels alike.

    Args:
        images: the images.
        labels: (n, h, w) or (n, k, h, w).
        generator: of the draws, the same ones as without labels.

    Returns:
        The images, and the labels in their dtype. Pixels that come in have no label: -100 among
        whole numbers, nan among others.
    """
    layers = labels.reshape(len(labels), -1, *labels.shape[-2:])
    known = torch.ones_like(layers[:, :1], dtype=torch.float64)
    together = torch.cat([images.double(), layers.double(), known], 1)
    moved = flip_and_crop(together, generator)
    channels = images.shape[1]
    outside = moved[:, -1:] == 0
    none = float("nan") if labels.is_floating_point() else -100
    found = moved[:, channels:-1].masked_fill(outside, none).to(labels.dtype)
    return moved[:, :channels].to(images.dtype), found.reshape(labels.shape)


def seed_all(*numbers: int) -> int:
    """Seed the generators of torch, NumPy and Python by these numbers, 0 or more.

    Returns:
        The seed that they were given.
    """
    value = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
    torch.manual_seed(value)
    np.random.seed(value % 2**32)
    random.seed(value)
    return value


def _image(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4 and value.is_floating_point()
