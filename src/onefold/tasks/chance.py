"""Hints for a network whose accuracy is near that of always giving the same class.

    near chance:   accuracy <= p + 2 sqrt(p (1 - p) / n)

p is the share of the commonest class among n labels; for data of one class alone it is 1 / C. An
accuracy near chance is rarely the network's fault. Classes in another order than the network was
trained with, labels that count from 1, inputs of another scale: each leaves a trace in the counts
of (label, answer), which are gathered here batch by batch. Another numbering of the classes is
found by the assignment that makes most answers right (Kuhn 1955, "The Hungarian method for the
assignment problem"). Chance alone makes the best of C! numberings look good. A numbering is
therefore found on every second example and judged on the others, both ways.

Memory: two tables of C x C numbers for each network, up to MOST classes. Beyond that only the
counts of each class are gathered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from onefold.batches import Batch
from onefold.tasks.classes import CONFUSED, ClassCounts

MOST = 1000  # classes for which pairs of label and answer are counted
RANGED = 1_000_000  # numbers of the first batch that its range is read from
FEWEST = 20  # examples: with fewer, nothing can be said
LEANS = 0.5  # the share of one answer that is told
GAIN = 0.1  # by how much another numbering must be more accurate
SHOWN = 8  # classes of a renumbering that are written out


class InputFacts:
    """Facts for a hint that are not in the answers.

    They are the range of the first batch's inputs, and the names of the classes.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        self._text: str | None = None

    def see(self, batch: Batch) -> None:
        """Note the range of the first batch."""
        if self._text is not None:
            return
        self._text = ""
        for value in (*batch.args, *batch.kwargs.values()):
            if isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 1:
                self._text = _range(value)
                return

    def __str__(self) -> str:
        return self._text or ""


def _range(value: Tensor) -> str:
    """The mean and deviation of inputs in words; "" if they are near 0 and 1."""
    wide = value.flatten()[:RANGED].double()
    if not bool(wide.isfinite().all()):
        return "they hold NaN or infinity"
    mean, deviation = float(wide.mean()), float(wide.std())
    if abs(mean) <= 3 and 0.05 <= deviation <= 5:
        return ""
    return (
        f"here {mean:.3g} and {deviation:.3g}, from {float(wide.min()):.3g} to"
        f" {float(wide.max()):.3g}"
    )


class AnswerCounts:
    """Counts of labels and answers, batch by batch."""

    def __init__(self) -> None:
        self.n = self.correct = 0
        self._first: Tensor | None = None
        self._constant = True
        self._labels = self._given = self._right = torch.zeros(0, dtype=torch.long)
        self.pairs: list[Tensor] = []

    def add(self, logits: Tensor, answers: Tensor, labels: Tensor) -> None:
        """Add one batch, all on the CPU.

        Args:
            logits: (n, C).
            answers: (n,) the class that is answered, -1 for none.
            labels: (n,).
        """
        if len(labels) == 0:
            return
        classes = logits.shape[-1]
        if self._first is None:
            self._first = logits[0].clone()
            self._labels = self._given = self._right = torch.zeros(classes, dtype=torch.long)
            self.pairs = (
                [torch.zeros(classes, classes, dtype=torch.long) for _ in range(2)]
                if classes <= MOST
                else []
            )
        self._constant = self._constant and bool((logits == self._first).all())
        self._labels = self._labels + torch.bincount(labels, minlength=classes)
        given = answers >= 0
        self._given = self._given + torch.bincount(answers[given], minlength=classes)
        right = labels[answers == labels]
        self._right = self._right + torch.bincount(right, minlength=classes)
        self.correct += len(right)
        half = (torch.arange(len(labels)) + self.n) % 2
        for k, pairs in enumerate(self.pairs):
            chosen = given & (half == k)
            flat = labels[chosen] * classes + answers[chosen]
            pairs.view(-1).index_put_((flat,), torch.ones_like(flat), accumulate=True)
        self.n += len(labels)

    def by_class(self) -> ClassCounts:
        """The counts of all that was added, class by class."""
        few = self.pairs and len(self._labels) <= CONFUSED
        confusion = self.pairs[0] + self.pairs[1] if few else None
        return ClassCounts(self._labels, self._right, confusion)

    @property
    def chance(self) -> float:
        """The accuracy of always giving the commonest class; for data of one class alone 1 / C."""
        classes = len(self._labels)
        return (
            1 / classes if int((self._labels > 0).sum()) == 1 else int(self._labels.max()) / self.n
        )

    def hint(self, facts: InputFacts | None = None) -> tuple[str, tuple[int, ...] | None]:
        """The things to check, and the class that is answered for each label.

        Args:
            facts: on the inputs; None for none.

        Returns:
            The hint, clause by clause, and for each label the class that is answered if another
            numbering would be far more accurate. "" and None if nothing is odd.
        """
        if self.n < FEWEST or self._first is None:
            return "", None
        facts = facts or InputFacts()
        accuracy, chance = self.correct / self.n, self.chance
        near = accuracy <= chance + 2 * math.sqrt(chance * (1 - chance) / self.n)
        found = self._renumbered(accuracy)
        renumbered = (
            None
            if found is None
            else (
                f"{self._mapping(found[0], facts.names)}, would make {100 * found[1]:.1f} % of the"
                " answers right"
            )
        )
        if not near:
            if found is None:
                return "", None
            return f"the order of the classes may differ: another numbering, {renumbered}", found[0]
        always = (
            "always answering the commonest class is right in"
            if chance > 1 / len(self._labels)
            else "guessing is right in"
        )
        clauses = [f"near chance ({100 * accuracy:.1f} %, where {always} {100 * chance:.1f} %)"]
        inputs = f" ({facts})" if str(facts) else ""
        clauses.append(
            f"check the order of the classes, the mean and deviation of the inputs{inputs}, and"
            " that the weights are these"
        )
        most = int(self._given.argmax())
        share = int(self._given[most]) / self.n
        if self._constant:
            clauses.append("all outputs are equal, whatever the input")
        elif (
            share >= max(LEANS, 2 / len(self._labels))
            and share > 1.2 * int(self._labels[most]) / self.n
        ):
            own = 100 * int(self._labels[most]) / self.n
            clauses.append(
                f"{100 * share:.0f} % of the answers are class {_named(most, facts.names)}, which"
                f" {own:.0f} % of the labels are"
            )
        if found is not None:
            clauses.append(f"another numbering of the classes, {renumbered}")
        return "; ".join(clauses), None if found is None else found[0]

    def _renumbered(self, accuracy: float) -> tuple[tuple[int, ...], float] | None:
        """For each label the class that is answered, and the accuracy of this numbering.

        The accuracy is that on examples on which the numbering was not found. None if the numbering
        is no clear gain.
        """
        if not self.pairs:
            return None
        both = self.pairs[0] + self.pairs[1]
        most = int(both.max(0).values.sum()) / self.n
        needed = accuracy + max(
            GAIN, 4 * math.sqrt(max(accuracy, 0.05) * (1 - min(accuracy, 0.95)) / self.n)
        )
        if most < needed:
            return None
        found = [_assigned(pairs) for pairs in self.pairs]
        right = sum(
            int(self.pairs[1 - k][range(len(own)), own].sum()) for k, own in enumerate(found)
        )
        judged = right / self.n
        if judged < needed:
            return None
        return tuple(_assigned(both)), judged

    def _mapping(self, answers: Sequence[int], names: Sequence[str]) -> str:
        """The renumbering in words, label -> answer, for the labels in the data."""
        seen = [(label, answer) for label, answer in enumerate(answers) if int(self._labels[label])]
        moved = [(label, answer) for label, answer in seen if label != answer]
        shown = ", ".join(f"{_named(label, names)} -> {answer}" for label, answer in moved[:SHOWN])
        more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
        said = ""
        for shift, word in ((1, "above"), (-1, "below")):
            if len(seen) > 1 and all(label - answer == shift for label, answer in seen):
                said = f" (every label is 1 {word} its answer)"
        return f"label -> answer {shown}{more}{said}"


def _assigned(pairs: Tensor) -> list[int]:
    """For each label (row) a different answer, so that most are right.

    Of numberings that are as good it is the one that leaves most labels as they are.
    """
    from scipy.optimize import linear_sum_assignment

    counts = pairs.double() + 1e-6 * torch.eye(len(pairs), dtype=torch.float64)
    answers: list[int] = linear_sum_assignment(counts.numpy(), maximize=True)[1].tolist()
    return answers


def _named(index: int, names: Sequence[str]) -> str:
    return (
        f"{index} '{names[index]}'"
        if index < len(names) and names[index] != str(index)
        else str(index)
    )
