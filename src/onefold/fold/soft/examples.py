"""Labelled examples held in memory: split in two, and drawn from at random.

Gates need hundreds of examples, not a training set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from onefold.batches import Batch, Data, batches, labels_of
from onefold.errors import DataError


class Examples:
    """The batches of a loader as one big batch.

    If their shapes differ, as with padded text, they stay several chunks that are never mixed.

    Attributes:
        chunks: the big batches.
        numbers: of every example of each chunk, its place in the data that were given.
    """

    def __init__(self, chunks: Sequence[Batch], numbers: Sequence[Tensor] | None = None) -> None:
        self.chunks = list(chunks)
        sizes = [chunk.size for chunk in self.chunks]
        counted = torch.arange(sum(sizes), device="cpu").split(sizes)  # type: ignore[no-untyped-call]
        self.numbers = list(counted if numbers is None else numbers)

    def number(self, place: int) -> int:
        """The place in the data that were given of the example at a place in order."""
        return int(torch.cat(self.numbers)[place])

    @staticmethod
    def of(
        data: Data, device: torch.device | str | None = None, what: str = "labelled data"
    ) -> Examples:
        """All examples that `data` yields, on `device`; examples are returned as they are.

        Raises:
            DataError: there is no batch, or one has no labels, or its first axis does not count
                examples.
        """
        if isinstance(data, Examples):
            return data
        found = list(batches(data, device, what))
        for batch in found:
            labels = labels_of(batch, "gates are learned from them", what)
            if labels.dim() and len(labels) != len(batch.tensors[0]):
                raise DataError(
                    f"Batch {batch.index} of the {what} has its {len(labels)} examples along"
                    " another axis than the first, which gates cannot draw from; put examples"
                    " first (batch_first=True)."
                )
        merged = _merged(found)
        return Examples([merged] if merged is not None else found)

    def __len__(self) -> int:
        return sum(chunk.size for chunk in self.chunks)

    def __iter__(self) -> Iterator[Any]:
        """The examples as a loader of batches would give them, at most 256 in one."""
        for chunk in self.batches(256):
            yield _item(chunk)

    def batches(self, size: int) -> Iterator[Batch]:
        """All examples in order, at most `size` in one batch."""
        for chunk in self.chunks:
            if chunk.size <= size:
                yield chunk
                continue
            for rows in torch.arange(chunk.size).split(size):  # type: ignore[no-untyped-call]
                yield _rows(chunk, rows)

    def draw(self, size: int, generator: torch.Generator) -> Batch:
        """`size` different examples at random, all of one chunk; fewer if the chunk is smaller."""
        chunk = self.chunks[0]
        if len(self.chunks) > 1:
            sizes = torch.tensor([c.size for c in self.chunks], dtype=torch.float32)
            chunk = self.chunks[int(torch.multinomial(sizes, 1, generator=generator))]
        if chunk.size <= size:
            return chunk
        return _rows(chunk, torch.randperm(chunk.size, generator=generator)[:size])

    def split(self, share: float, seed: int) -> tuple[Examples, Examples]:
        """Two parts, drawn at random, the second with about `share` of every chunk."""
        generator = torch.Generator().manual_seed(seed)
        first, second = [], []
        ours, theirs = [], []
        for chunk, numbers in zip(self.chunks, self.numbers, strict=True):
            order = torch.randperm(chunk.size, generator=generator)
            cut = round(share * chunk.size)
            if cut < chunk.size:
                kept = order[cut:].sort().values
                first.append(_rows(chunk, kept))
                ours.append(numbers[kept])
            if cut > 0:
                kept = order[:cut].sort().values
                second.append(_rows(chunk, kept))
                theirs.append(numbers[kept])
        return Examples(first, ours), Examples(second, theirs)


def _rows(batch: Batch, rows: Tensor) -> Batch:
    def take(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() and len(value) == batch.size:
            return value[rows.to(value.device)]
        return value

    labels = take(batch.labels)
    return replace(
        batch,
        args=tuple(take(x) for x in batch.args),
        kwargs={k: take(v) for k, v in batch.kwargs.items()},
        labels=labels,
    )


def _merged(found: Sequence[Batch]) -> Batch | None:
    """One batch of all, or None if shapes or structures differ."""
    first = found[0]

    def joined(values: Sequence[Any]) -> Any:
        if not isinstance(values[0], Tensor):
            return values[0]
        return torch.cat(list(values))

    if any(len(b.args) != len(first.args) or b.kwargs.keys() != first.kwargs.keys() for b in found):
        return None
    try:
        args = tuple(joined([b.args[i] for b in found]) for i in range(len(first.args)))
        kwargs = {key: joined([b.kwargs[key] for b in found]) for key in first.kwargs}
        return Batch(args, kwargs, joined([b.labels for b in found]))
    except (RuntimeError, TypeError):
        return None


def _item(batch: Batch) -> Any:
    """The batch in the form in which a loader yields it."""
    if batch.kwargs:
        return {**batch.kwargs, "labels": batch.labels}
    inputs = batch.args[0] if len(batch.args) == 1 else batch.args
    return inputs, batch.labels
