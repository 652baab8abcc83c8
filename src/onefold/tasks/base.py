"""What a task is: how outputs and labels make rows, losses, means, divergences and scores.

Every task brings the outputs of a network into rows (r, D): the logits of one example, pixel or
token, or the numbers of one regression. Everything else is said of rows:

    loss          l(row, target), which training minimises and which settles ties
    mean          of the rows of several networks, which is what their ensemble answers
    divergence    of a row from the ensemble's, which polishing minimises
    scores        of all rows, with unit and direction, and what each example contributes

A task of a user's own is such a class, registered by `@onefold.tasks.tasks.register("name")`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from onefold.batches import Batch, labels_of
from onefold.errors import SettingError
from onefold.inference import Output
from onefold.registry import Registry
from onefold.tasks.answers import Answers
from onefold.tasks.calibration import Binning, check_binning
from onefold.tasks.chance import InputFacts
from onefold.tasks.classes import ClassCounts
from onefold.tasks.means import EnsembleMean
from onefold.tasks.score import Score

JOINED = 4096  # rows that a tally gets at once where batches are small


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one batch that have labels.

    Attributes:
        values: (r, D) of a network, in its dtype and on its device.
        targets: (r,) int64 class numbers, or (r, D) numbers, beside the values.
        owners: (r,) int64 on the CPU, the example of the batch that each row belongs to; None: a
            row is an example.
        examples: how many examples of the batch have rows.
        ignored: how many labels were left out, as they are none.
    """

    values: Tensor
    targets: Tensor
    owners: Tensor | None = None
    examples: int = 0
    ignored: int = 0

    @property
    def count(self) -> int:
        """The number of examples; without owners that of the rows."""
        return len(self.values) if self.owners is None else self.examples


def joined(parts: Iterable[Rows], most: int = JOINED) -> Iterator[Rows]:
    """The rows of batch after batch, those of several in one: tallies cost little for each then.

    Args:
        parts: the rows of each batch.
        most: rows from which on no more are put together.
    """
    held: list[Rows] = []
    for rows in parts:
        held.append(rows)
        if sum(len(one.values) for one in held) >= most:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    owners: list[Tensor] = []
    examples = 0
    for rows in parts:
        own = torch.arange(rows.count) if rows.owners is None else rows.owners
        owners.append(own + examples)
        examples += rows.count
    plain = all(rows.owners is None for rows in parts)
    return Rows(
        torch.cat([rows.values for rows in parts]),
        torch.cat([rows.targets for rows in parts]),
        None if plain else torch.cat(owners),
        0 if plain else examples,
        sum(rows.ignored for rows in parts),
    )


@dataclass(frozen=True)
class Bins:
    """How confidences are put into bins for a calibration error.

    Attributes:
        bins: their number.
        binning: "equal-width", or "adaptive" (equal numbers of examples).
    """

    bins: int = 15
    binning: Binning = "equal-width"

    def __post_init__(self) -> None:
        check_binning(self.bins, self.binning)


@dataclass(frozen=True, eq=False)
class Counted:
    """What a tally found.

    Attributes:
        values: name -> score.
        n: examples.
        answers: what every example contributes to the deciding score.
        nonfinite: examples without finite outputs.
        hint: what to check, or "".
        renumbered: for each label the class that is answered, if another numbering fits better.
        classes: the counts class by class, if there are classes.
    """

    values: Mapping[str, float]
    n: int
    answers: Answers
    nonfinite: int = 0
    hint: str = ""
    renumbered: tuple[int, ...] | None = None
    classes: ClassCounts | None = None


class Tally(ABC):
    """Adds up the scores of one network, batch by batch."""

    @abstractmethod
    def add(self, rows: Rows) -> None:
        """Add the rows of one batch."""

    @abstractmethod
    def counted(self, by: str, facts: InputFacts | None = None) -> Counted:
        """The scores of all that was added.

        Args:
            by: the name of the score whose contributions are wanted.
            facts: on the inputs, for a hint.

        Raises:
            DataError: nothing was added.
        """


class Reader(ABC):
    """Reads the outputs of one pass over the data.

    What one batch decides, as the axis of the classes, holds for the next.

    Args:
        output: which output is meant, and where its classes lie.
        todo: what is done, as words before "needs two classes or more".
    """

    def __init__(self, output: Output, todo: str) -> None:
        self.output, self.todo = output, todo

    @abstractmethod
    def values(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The outputs (N, ..., D) with the numbers of a row on the last axis; labels may be absent.

        Raises:
            DataError: the outputs are none of this task.
        """

    @abstractmethod
    def back(self, values: Tensor, outputs: Tensor) -> Tensor:
        """Values as `values` gives them, in the axes of outputs."""

    def judged(self, told: Tensor, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """What a metric gets: outputs and labels.

        Args:
            told: (N, ..., D) as `Task.told` gives them.
            outputs: of a network, in whose axes the metric gets them.
            batch: with labels.
        """
        return self.back(told, outputs), labels_of(batch, "metrics need them")

    @abstractmethod
    def targets(self, values: Tensor, batch: Batch) -> Targets:
        """The labels of a batch as targets for its values.

        Raises:
            DataError: labels are missing, or do not fit the outputs.
        """

    def rows(self, outputs: Tensor, batch: Batch) -> Rows:
        """The rows of one network on a labelled batch.

        Raises:
            DataError: as `values` and `targets`.
        """
        values = self.values(outputs, batch)
        return self.targets(values, batch).rows(values)


@dataclass(frozen=True, eq=False)
class Targets:
    """The labels of a batch, ready for the values of any network on it.

    Attributes:
        values: (r,) or (r, D), of the rows that have labels.
        kept: (N, ...) bool, which rows these are; None: all.
        owners: as in `Rows`.
        examples: as in `Rows`.
        ignored: as in `Rows`.
    """

    values: Tensor
    kept: Tensor | None = None
    owners: Tensor | None = None
    examples: int = 0
    ignored: int = 0

    def rows(self, values: Tensor) -> Rows:
        """The rows of values (N, ..., D) that have labels."""
        flat = values if self.kept is None else values[self.kept.to(values.device)]
        flat = flat.reshape(-1, values.shape[-1])
        targets = self.values.to(values.device)
        return Rows(flat, targets, self.owners, self.examples, self.ignored)


class Task(ABC):
    """One kind of question that networks answer.

    A subclass is registered under its name, and has no settings.

    Attributes:
        name: of the task.
        scores: what its tally counts, in the order in which a table shows them; the first decides.
        loss: the name of the score that is the mean of `losses`.
        means: the ensembles that there are; the first is the default.
        classes: whether a row is the logits of classes of which one is right, so that pools of
            classes and agreement mean something.
        distance: the unit of `divergence`.
        wide: whether rows are scored in float64.
    """

    name: ClassVar[str]
    scores: ClassVar[tuple[Score, ...]]
    loss: ClassVar[str]
    means: ClassVar[tuple[EnsembleMean, ...]]
    classes: ClassVar[bool] = False
    distance: ClassVar[str] = "nats"
    wide: ClassVar[bool] = True

    @abstractmethod
    def reader(self, output: Output, todo: str) -> Reader:
        """A reader for one pass over the data."""

    @abstractmethod
    def tally(self, bins: Bins) -> Tally:
        """An empty tally for one network."""

    @abstractmethod
    def losses(self, values: Tensor, targets: Tensor) -> Tensor:
        """The loss (r,) of rows (r, D), which can be differentiated."""

    def mean_loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """The mean of `losses` (scalar); a task may compute it at once."""
        return self.losses(values, targets).mean()

    @abstractmethod
    def mean(self, values: Sequence[Tensor], kind: EnsembleMean) -> Tensor:
        """What the ensemble answers, of values (..., D) of its members; one of `means`."""

    @abstractmethod
    def aim(self, values: Tensor, temperature: float) -> Tensor:
        """What a student is taught by values (..., D) of its teacher."""

    @abstractmethod
    def divergence(self, values: Tensor, aim: Tensor, temperature: float) -> Tensor:
        """The mean distance (scalar) of a student's values (..., D) from an aim of `aim`."""

    @abstractmethod
    def told(self, values: Tensor) -> Tensor:
        """The values (..., D) as a metric takes them: as probabilities, or as they are."""

    def answers(self, values: Tensor) -> Tensor | None:
        """The answers (...) int64 of values (..., D), -1 for none; None if they are numbers."""
        return None

    def calibrated(self, values: Tensor, targets: Tensor) -> Tensor:
        """Rows (r, D) at their best temperature; a task without one leaves them."""
        return values

    def guess(self, values: Tensor, targets: Tensor) -> Tensor:
        """Rows like values (r, D) that know nothing of an input: zeros, a guess as logits."""
        return torch.zeros_like(values)

    def useless(self, values: Tensor, targets: Tensor) -> str:
        """Why rows (r, D) tell nothing of the targets, in words behind "it"; "" if they do.

        Args:
            values: as `calibrated` gives them.
            targets: of the rows.
        """
        return ""

    def kind(self, name: str) -> Score:
        """What the score of that name means."""
        return next(one for one in self.scores if one.name == name)

    def default_mean(self, asked: EnsembleMean | None) -> EnsembleMean:
        """The mean that was asked for, or the task's own.

        Raises:
            SettingError: the task has no such mean.
        """
        if asked is None:
            return self.means[0]
        if asked not in self.means:
            known = " or ".join(f"'{name}'" for name in self.means)
            raise SettingError(
                f"An ensemble of {self.name} has no mean of {asked}; give {known}, or leave it out."
            )
        return asked

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


tasks: Registry[type[Task]] = Registry("task")


def has_answers(name: str) -> bool:
    """Whether networks of the task of that name can give equal answers."""
    return tasks.get(name).answers is not Task.answers


def broken_rows(values: Tensor) -> Tensor:
    """(...) bool: which rows (..., D) hold a number that is not finite."""
    return ~torch.isfinite(values).all(-1)


__all__ = [
    "Bins",
    "Counted",
    "Reader",
    "Rows",
    "Tally",
    "Targets",
    "Task",
    "broken_rows",
    "has_answers",
    "joined",
    "tasks",
]
