"""Examples of any task, and the parts of a data set that every task has.

| part       | purpose                                                                |
|------------|------------------------------------------------------------------------|
| seen       | what members are trained on: "all", or the "first" or "second" share   |
| unlabelled | folds and polish; no labels                                            |
| choices    | labelled; gates are learned on them, and the default chooses by them   |
| test       | figures that are published                                             |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

BATCH = 64  # examples of one batch


@dataclass(frozen=True)
class Examples:
    """inputs: tensors (n, ...) by name. labels (n, ...). lengths (n,): the used part of the first
    axis behind n, of inputs that differ in it. keywords: batches are dicts, else (inputs, labels).
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor
    lengths: Tensor | None = None
    keywords: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Examples:
        inputs = {name: value[index] for name, value in self.inputs.items()}
        lengths = None if self.lengths is None else self.lengths[index]
        return replace(self, inputs=inputs, labels=self.labels[index], lengths=lengths)

    def batch(self, *, labels: bool = True) -> Any:
        """All examples as one batch, cut to its longest example."""
        inputs, own = dict(self.inputs), self.labels
        if self.lengths is not None:
            most, whole = int(self.lengths.max()), _longest(self)
            inputs = {name: _cut(value, whole, most) for name, value in inputs.items()}
            own = _cut(own, whole, most)
        if self.keywords:
            return inputs | ({"labels": own} if labels else {})
        values = tuple(inputs.values())
        if not labels:
            return values[0] if len(values) == 1 else (values, None)
        return (values[0] if len(values) == 1 else values), own

    def batches(self, size: int = BATCH) -> list[Any]:
        """Labelled batches in order; the last may be smaller."""
        return [self[k : k + size].batch() for k in range(0, len(self), size)]

    def unlabelled(self, size: int = BATCH) -> list[Any]:
        """The same batches without labels."""
        return [self[k : k + size].batch(labels=False) for k in range(0, len(self), size)]


@dataclass(frozen=True)
class Parts:
    """One data set in the parts of this module's table."""

    seen: Mapping[str, Examples]
    unlabelled: Examples
    choices: Examples
    test: Examples


@dataclass(frozen=True)
class Sizes:
    """How many examples the parts have; each entry of `seen` has as many."""

    seen: int
    unlabelled: int = 1000
    choices: int = 500
    test: int = 2000


def joined(first: Examples, second: Examples, seed: int) -> Examples:
    """The examples of both in a random order."""
    inputs = {name: torch.cat([value, second.inputs[name]]) for name, value in first.inputs.items()}
    lengths = None
    if first.lengths is not None and second.lengths is not None:
        lengths = torch.cat([first.lengths, second.lengths])
    labels = torch.cat([first.labels, second.labels])
    both = Examples(inputs, labels, lengths, first.keywords)
    return both[torch.randperm(len(both), generator=torch.Generator().manual_seed(seed))]


def _longest(examples: Examples) -> int:
    return next(iter(examples.inputs.values())).shape[1]


def _cut(value: Tensor, whole: int, most: int) -> Tensor:
    return value[:, :most] if value.dim() > 1 and value.shape[1] == whole else value
