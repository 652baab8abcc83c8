"""How many examples were read: what reports say was used is what came out of the loader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from onefold.batches import Data, RankShare, batches
from onefold.errors import DataError


class Counted:
    """Somebody's batches as they are, counted as they are read.

    Attributes:
        examples: of the longest pass so far.
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
    """The data to walk through, and what counts it.

    Of a process's share all batches that it walks past are counted.
    """
    own = Counted(data.data if isinstance(data, RankShare) else data)
    return (replace(data, data=own) if isinstance(data, RankShare) else own), own


def count_examples(data: Data) -> int:
    """The number of examples of one pass, which is made for that where the data does not say."""
    labels = getattr(getattr(data, "images", None), "labels", None)
    return len(labels) if labels is not None else sum(batch.size for batch in batches(data))


def _size(item: Any) -> int:
    """0 for what is no batch: whoever reads it will say what is wrong with it."""
    try:
        return next(batches([item])).size
    except DataError:
        return 0


__all__ = ["Counted", "count_examples", "counted"]
