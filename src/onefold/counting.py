"""Number of examples read. Reports state as used the examples that came out of the loader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from onefold.batches import Data, RankShare, batches
from onefold.errors import DataError


class Counted:
    """A user's batches unchanged, counted as they are read.

    Attributes:
        data: the batches.
        examples: number of examples of the longest pass so far.
    """

    def __init__(self, data: Data) -> None:
        self.data = data
        self.examples = 0

    def __iter__(self) -> Iterator[Any]:
        count = 0
        for item in self.data:
            count += _size(item)
            self.examples = max(self.examples, count)
            yield item


def counted(data: Data) -> tuple[Data, Counted]:
    """The data to iterate over, and the counter of its examples.

    Of a process's share, all batches that it passes over are counted, those of other ranks too.
    """
    if isinstance(data, RankShare):
        counter = Counted(data.data)
        return replace(data, data=counter), counter
    counter = Counted(data)
    return counter, counter


def count_examples(data: Data) -> int:
    """The number of examples of one pass.

    If the data does not tell it, a pass is made to count them.
    """
    examples = getattr(data, "images", None)
    if callable(getattr(examples, "batch", None)):
        return len(examples)  # type: ignore[arg-type]
    return sum(batch.size for batch in batches(data))


def _size(item: Any) -> int:
    """The number of examples of an item; 0 if it is no batch, about which its reader raises."""
    try:
        return next(batches([item])).size
    except DataError:
        return 0


__all__ = ["Counted", "count_examples", "counted"]
