"""The answers of a network, example by example, by which differences are paired.

A score v of n examples is told apart into contributions c_i with mean v: an example's hit for an
accuracy, and

    c_i = v + grad g(s) (s_i - s),    v = g(s),    s = (1/n) sum_i s_i

for a score that is a function g of means of numbers s_i of each example, such as a root of a mean
square, a ratio of sums, or a mean of intersections over unions. This is the influence of the
example (the infinitesimal jackknife; Efron 1982, "The Jackknife, the Bootstrap and Other Resampling
Plans", chapter 6). The standard error of v is that of the mean of c_i, and the standard error of a
difference of two networks' scores is that of the mean of differences c_i - c'_i.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one network in the order of the data.

    Attributes:
        hits: (n,) bool, whether the answer was right; where the deciding score is no accuracy of
            single answers (n,) float64, what every example contributes to that score.
        losses: (n,) float32, the loss of every example; infinite if the outputs are not finite.
        labels: a fingerprint of the labels in their order.
        given: (n,) int16 or int32, the class that was answered, -1 for none; None: not kept.
    """

    hits: Tensor
    losses: Tensor
    labels: str
    given: Tensor | None = None

    @property
    def single(self) -> bool:
        """Whether `hits` says of every example whether it is right."""
        return self.hits.dtype == torch.bool

    def __repr__(self) -> str:
        right = f", right={int(self.hits.sum())}" if self.single else ""
        return f"Answers(n={len(self.hits)}{right})"


class Fingerprint:
    """Collects labels of any dtype batch by batch; the cut into batches does not matter."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, labels: Tensor) -> None:
        """Add labels (n, ...), whole numbers as int64 and others as float64."""
        wide = labels.double() if labels.is_floating_point() else labels.long()
        self._digest.update(wide.cpu().contiguous().numpy().tobytes())

    def __str__(self) -> str:
        return self._digest.hexdigest()


class AnswersKept:
    """Collects `Answers` of single labels. The cut of the examples into batches does not matter."""

    def __init__(self) -> None:
        self._hits: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._given: list[Tensor] = []
        self._fingerprint = Fingerprint()

    def add(self, hits: Tensor, losses: Tensor, labels: Tensor, given: Tensor) -> None:
        """Add hits (n,) bool, losses (n,) in nats, labels and given classes (n,) int64."""
        small = not len(given) or int(given.max()) <= torch.iinfo(torch.int16).max
        self._given.append(given.cpu().to(torch.int16 if small else torch.int32))
        self._hits.append(hits.cpu())
        self._losses.append(losses.cpu().float())
        self._fingerprint.add(labels)

    def answers(self) -> Answers:
        """The answers that were added."""
        return Answers(
            torch.cat(self._hits),
            torch.cat(self._losses),
            str(self._fingerprint),
            torch.cat(self._given),
        )


def contributions(numbers: Tensor, score: Callable[[Tensor], Tensor]) -> tuple[float, Tensor]:
    """The score of n examples, and what every example contributes to it (see above).

    Args:
        numbers: (n, q) float64, the numbers of every example.
        score: g, from their means (q,) to the score, by operations that can be differentiated.

    Returns:
        The score, and the contributions (n,) float64. They are NaN if the score is not finite.
    """
    mean = numbers.mean(0).requires_grad_()
    with torch.enable_grad():
        value = score(mean)
        slope = torch.autograd.grad(value, mean)[0]
    found = float(value.detach())
    if not math.isfinite(found):
        return found, torch.full((len(numbers),), torch.nan, dtype=torch.float64)
    gaps = numbers - numbers.mean(0)
    # A root has no slope at 0, where its numbers are all 0.
    slope = slope.masked_fill((gaps == 0).all(0), 0.0)
    return found, found + gaps @ slope


def mean_error(values: Tensor) -> float:
    """The standard error of the mean of independent values (n,).

    It is NaN if a value is not finite, and 0 for a single value.
    """
    values = values.double()
    return float((values.var(correction=0) / max(1, len(values) - 1)).sqrt())


def per_example(values: Tensor, owners: Tensor | None, count: int) -> Tensor:
    """Sums (count, ...) of values (rows, ...) over the rows of every example.

    Args:
        values: float64.
        owners: (rows,) the number of the example that a row belongs to; None: a row is an example.
        count: the examples.
    """
    if owners is None:
        return values
    sums = torch.zeros(count, *values.shape[1:], dtype=values.dtype)
    return sums.index_add_(0, owners, values)


def agreement_of(first: Answers | None, second: Answers | None) -> float | None:
    """The share of the examples that both answer with the same class.

    It is None if the answers were not kept, or are of other examples.
    """
    if first is None or second is None or first.given is None or second.given is None:
        return None
    if first.labels != second.labels or len(first.given) != len(second.given):
        return None
    same = (first.given == second.given) & (first.given >= 0)
    return float(same.double().mean())
