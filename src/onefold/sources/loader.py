"""Labelled images in memory, and re-iterable batches of images, arrays or rows of a table.

Bytes stay bytes. They are normalised batch by batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor

from onefold.batches import Batch, Data, batches
from onefold.errors import DataError


class ExampleSet(Protocol):
    """Examples of which batches can be taken in any order."""

    @property
    def labels(self) -> Tensor | None:
        """The labels (n, ...) of all examples; None if there are none."""

    @property
    def classes(self) -> int | None:
        """Number of classes; None if the labels are no class numbers."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their numbers; () if they are not known."""

    @property
    def groups(self) -> Tensor | None:
        """Numbers (n,) of which only equal ones share a batch; None if all examples may."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor | slice) -> Any:
        """The examples at `index`, as a loader yields them."""

    def part(self, index: Tensor) -> ExampleSet:
        """The examples at `index` alone."""


def is_example_set(data: Any) -> TypeGuard[ExampleSet]:
    """Whether these are examples of which batches can be taken; nothing is read."""
    return all(callable(getattr(type(data), name, None)) for name in ("batch", "part"))


@dataclass(frozen=True)
class Images:
    """Labelled images.

    Attributes:
        inputs: (n, channels, height, width), uint8 in 0..255 or float32 in 0..1.
        labels: (n,), int64, from 0 to classes - 1.
        classes: number of classes of the whole data set, also if the images read hold fewer.
        mean: one number, or one per channel, subtracted from inputs in 0..1.
        std: one number, or one per channel, by which the difference is divided.
        names: of the classes, in the order of their numbers; () if they are not known.
    """

    inputs: Tensor
    labels: Tensor
    classes: int
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def normalized(self, index: Tensor | slice) -> Tensor:
        """The images at `index` as float32, minus the mean, over the standard deviation."""
        chosen = self.inputs[index]
        scaled = chosen.float().div_(255) if chosen.dtype == torch.uint8 else chosen.float().clone()
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return scaled.sub_(mean).div_(std)

    @property
    def groups(self) -> Tensor | None:
        """None, as all images have one size."""
        return None

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """The normalised images at `index`, and their labels."""
        return self.normalized(index), self.labels[index]

    def part(self, index: Tensor) -> Images:
        """The images at `index` alone."""
        return replace(self, inputs=self.inputs[index], labels=self.labels[index])


class ImageBatches:
    """Batches of examples in memory or in mapped files, as many passes as wanted.

    Of images a batch is `(inputs (n, c, h, w) float32, labels (n,) int64)`. Other sources say what
    theirs are. Without `shuffle` every pass is the same. With it the order is drawn anew for each
    pass from `seed` and the number of passes begun before, so that a training run is repeatable.

    Args:
        images: the images and their labels, or other examples.
        batch_size: examples per batch; the last batch may be smaller.
        shuffle: draw the order anew for each pass.
        seed: of the order.

    Attributes:
        passes: the number of shuffled passes begun so far.
    """

    def __init__(
        self, images: ExampleSet, batch_size: int = 128, *, shuffle: bool = False, seed: int = 0
    ) -> None:
        self.images = images
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.passes = 0

    @property
    def classes(self) -> int | None:
        """Number of classes of the data set; None if its labels are no class numbers."""
        return self.images.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes in the order of their numbers; () if they are not known."""
        return self.images.names

    @property
    def labels(self) -> Tensor | None:
        """All labels (n, ...), unshuffled; None if there are none."""
        return self.images.labels

    def __len__(self) -> int:
        """Number of batches."""
        groups = self.images.groups
        counts = (
            [len(self.images)] if groups is None else torch.unique(groups, return_counts=True)[1]
        )
        return sum(-(-int(count) // self.batch_size) for count in counts)

    def __iter__(self) -> Iterator[Any]:
        order: Tensor | None = None
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.passes)
            order = torch.randperm(len(self.images), generator=generator)
            self.passes += 1
        if self.images.groups is not None:
            for index in _grouped(order, self.images.groups, self.batch_size):
                yield self.images.batch(index)
            return
        for start in range(0, len(self.images), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self.images.batch(part if order is None else order[part])


def _grouped(order: Tensor | None, groups: Tensor, size: int) -> Iterator[Tensor]:
    """Batches of equal groups, in the order in which they are full; those left over at the end."""
    waiting: dict[int, list[int]] = {}
    for index in (torch.arange(len(groups)) if order is None else order).tolist():
        own = waiting.setdefault(int(groups[index]), [])
        own.append(index)
        if len(own) == size:
            yield torch.tensor(own)
            own.clear()
    yield from (torch.tensor(own) for own in waiting.values() if own)


class Part:
    """A part of the examples of any iterable of batches; re-iterable if that is.

    Args:
        data: the batches.
        skip: the number of examples left out at the start.
        limit: the number of examples after them; None gives all.
    """

    def __init__(self, data: Iterable[Any], skip: int, limit: int | None) -> None:
        self.data = data
        self.skip = skip
        self.limit = limit

    def __iter__(self) -> Iterator[Any]:
        start, end = self.skip, None if self.limit is None else self.skip + self.limit
        seen = 0
        for item in self.data:
            batch: Batch = next(batches([item]))
            begin = max(start - seen, 0)
            stop = batch.size if end is None else min(end - seen, batch.size)
            seen += batch.size
            if (begin, stop) == (0, batch.size) and stop:
                yield item
            elif begin < stop:
                yield _cut(item, slice(begin, stop), batch.size)
            if end is not None and seen >= end:
                return


def number_of_classes(data: Iterable[Any]) -> int:
    """The number of classes of labelled data.

    The source's own attribute `classes` is taken if there is one. Else it is the largest label plus
    one, which reads `data` once.

    Raises:
        DataError: the batches carry no labels, or labels that are not class indices (n,).
    """
    known = getattr(data, "classes", None)
    if isinstance(known, int):
        return known
    largest = -1
    for batch in batches(data):
        if batch.labels is None or batch.labels.dim() != 1 or batch.labels.is_floating_point():
            raise DataError(
                "The data has no class labels (n,) of an integer type, so its classes cannot be"
                " counted; say how many there are."
            )
        largest = max(largest, int(batch.labels.max()))
    return largest + 1


def _cut(item: Any, part: slice, size: int) -> Any:
    """Slice every tensor of `size` rows inside a batch."""
    if isinstance(item, Tensor):
        return item[part] if item.dim() and len(item) == size else item
    if isinstance(item, Mapping):
        return {key: _cut(value, part, size) for key, value in item.items()}
    if isinstance(item, tuple | list):
        return type(item)(_cut(value, part, size) for value in item)
    return item


def hold_out(data: ImageBatches, share: float, seed: int) -> tuple[ImageBatches, ImageBatches]:
    """Examples drawn at random, apart from all others.

    Args:
        data: the images or other examples.
        share: of them that is held out, between 0 and 1.
        seed: of the draw.

    Returns:
        The others, and those held out, each in their old order.

    Raises:
        DataError: none would be held out, or none left.
    """
    images = data.images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    count = round(share * len(images))
    if not 0 < count < len(images):
        raise DataError(
            f"{len(images)} training examples are too few to hold out {share:g} of them; give more"
            " examples."
        )

    def some(index: Tensor) -> ImageBatches:
        return ImageBatches(images.part(index), data.batch_size)

    return some(order[count:].sort().values), some(order[:count].sort().values)


@dataclass(frozen=True)
class Chained:
    """The batches of several data, one after the other.

    Attributes:
        data: the data.
    """

    data: tuple[Data, ...]

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.data)
