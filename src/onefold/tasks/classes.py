"""Scores class by class: how many examples of each class there are, and how many are right.

For labels y_i and answers a_i, of which an example with non-finite outputs has none,

    examples_c = sum_i [y_i = c],    right_c = sum_i [y_i = c = a_i],
    confusion_cd = sum_i [y_i = c, a_i = d].

The counts are gathered batch by batch. The confusion matrix is kept up to CONFUSED classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

CONFUSED = 64  # classes up to which a confusion matrix is kept


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """The answers of one network, class by class.

    Attributes:
        examples: (C,) int64, the examples of each class.
        right: (C,) int64, those of them that are answered rightly.
        confusion: (C, C) int64, the examples of a class (row) that are answered with a class
            (column); None with more than CONFUSED classes. Examples without an answer are missing.
    """

    examples: Tensor
    right: Tensor
    confusion: Tensor | None = None

    @property
    def seen(self) -> list[int]:
        """The classes that have examples."""
        found: list[int] = self.examples.nonzero().flatten().tolist()
        return found

    def accuracy(self, number: int) -> float:
        """The share of a class's examples that is right; NaN without examples."""
        count = int(self.examples[number])
        return int(self.right[number]) / count if count else math.nan

    def __repr__(self) -> str:
        return f"ClassCounts({len(self.examples)} classes, {int(self.examples.sum())} examples)"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "examples": self.examples.tolist(),
            "right": self.right.tolist(),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }


__all__ = ["ClassCounts"]
