"""How networks are scored: the task, metrics beside its own scores, and which of all decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

from torch import Tensor

from onefold.batches import Batch
from onefold.errors import SettingError, nearest, shown
from onefold.inference import ANY, Output
from onefold.tasks.answers import Answers
from onefold.tasks.base import Bins, Reader, Rows, Tally, Task, tasks
from onefold.tasks.chance import InputFacts
from onefold.tasks.means import EnsembleName
from onefold.tasks.metrics import Counter, Metric, as_metrics, check_chooses
from onefold.tasks.score import Score
from onefold.tasks.scores import Scores
from onefold.tasks.telling import tell_task

TaskChoice: TypeAlias = "str | Task | type[Task]"
AUTO = "auto"


@dataclass(frozen=True)
class Scoring:
    """How networks are scored.

    Attributes:
        task: the name of a task, or a `Task`; "auto" tells it from outputs and labels.
        metrics: further scores (`onefold.Metric`).
        by: the name of the score that decides wherever networks are compared; None: the task's
            first.
        bins: of calibration errors.
    """

    task: TaskChoice = AUTO
    metrics: Any = ()
    by: str | None = None
    bins: Bins = field(default_factory=Bins)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", as_metrics(self.metrics))
        self.named  # noqa: B018 - a name that is unknown is refused at once
        taken = {one.name for one in fields(Scores)} | {"units"}
        for metric in self.metrics:
            if metric.name in taken:
                raise SettingError(
                    f"A metric is called '{metric.name}', which is a fact of all scores; give it"
                    " another name, as onefold.Metric(metric, 'name')."
                )
            if metric.name == self.by:
                check_chooses(metric.kind)

    @property
    def named(self) -> Task | None:
        """The task, if it is named.

        Raises:
            SettingError: there is no such task.
        """
        return as_task(self.task)

    def at(self, task: Task) -> Scoring:
        """The same scoring of a task that was told."""
        return replace(self, task=task)

    def told(self, outputs: Tensor, batch: Batch, output: Output = ANY) -> Task:
        """The task: as named, or told from a labelled batch.

        Raises:
            DataError: it cannot be told.
            SettingError: it has no score that decides.
        """
        task = self.named or tell_task(outputs, batch, output)
        self.check(task)
        return task

    def check(self, task: Task) -> None:
        """Refuse a deciding score that neither the task nor a metric has.

        Raises:
            SettingError: as said, or a metric has the name of one of the task's scores.
        """
        known = [kind.name for kind in self.kinds(task)]
        for metric in self.metrics:
            if known.count(metric.name) > 1:
                raise SettingError(
                    f"A metric is called '{metric.name}', which is a score of {task.name} already;"
                    " give it another name, as onefold.Metric(metric, 'name')."
                )
        if self.by is not None and self.by not in known:
            raise SettingError(
                f"There is no score '{self.by}' of {task.name} to choose by;"
                f" {nearest(self.by, known)}"
            )

    def kinds(self, task: Task) -> tuple[Score, ...]:
        """What every score of the task and of the metrics means."""
        return (*task.scores, *(metric.kind for metric in self.metrics))

    def tally(self, task: Task) -> ScoredTally:
        """An empty tally of one network's scores and metrics."""
        return ScoredTally(self, task)


class ScoredTally:
    """Counts one network: its task's scores, and all metrics."""

    def __init__(self, scoring: Scoring, task: Task) -> None:
        self.scoring, self.task = scoring, task
        self._tally: Tally = task.tally(scoring.bins)
        self._counters: list[Counter] = [metric.counter() for metric in scoring.metrics]
        self._ignored = 0

    def add(
        self, reader: Reader, values: Tensor, outputs: Tensor, batch: Batch, rows: Rows
    ) -> None:
        """Add one network's batch.

        Args:
            reader: of this pass.
            values: (N, ..., D) as the reader gave them, or an ensemble's.
            outputs: in the network's axes, for their shape.
            batch: with labels.
            rows: the rows of the values.
        """
        self.count(rows)
        self.measure(reader, values, outputs, batch)

    def count(self, rows: Rows) -> None:
        """Add rows to the task's scores alone."""
        self._tally.add(rows)
        self._ignored += rows.ignored

    def measure(self, reader: Reader, values: Tensor, outputs: Tensor, batch: Batch) -> None:
        """Add one network's batch to the metrics alone; arguments are as in `add`."""
        if not self._counters:
            return
        told = self.task.told(values.detach().float().cpu())
        given, labels = reader.judged(told, outputs, batch)
        for counter in self._counters:  # a function may change what it gets
            counter.add(given.clone(), labels.cpu().clone(), f" of batch {batch.index}")

    def scores(
        self,
        members: int = 1,
        ensemble: EnsembleName | None = None,
        agreement: float | None = None,
        facts: InputFacts | None = None,
    ) -> Scores:
        """The scores of all that was added.

        Args:
            members: the number of networks.
            ensemble: what was averaged.
            agreement: of the members.
            facts: on the inputs, for the hint.

        Raises:
            DataError: nothing was added.
        """
        task, scoring = self.task, self.scoring
        by = scoring.by or task.scores[0].name
        found = self._tally.counted(by, facts)
        values, answers = dict(found.values), found.answers
        for counter in self._counters:
            values[counter.metric.name] = counter.value()
            if counter.metric.name == by:
                answers = _by_metric(answers, counter)
        return Scores(
            values,
            found.n,
            kinds=scoring.kinds(task),
            task=task.name,
            by=by,
            loss_name=task.loss,
            bins=scoring.bins.bins,
            binning=scoring.bins.binning,
            members=members,
            ensemble=ensemble,
            agreement=agreement,
            nonfinite=found.nonfinite,
            ignored=self._ignored,
            hint=found.hint,
            renumbered=found.renumbered,
            answers=answers,
            classes=found.classes,
        )


def _by_metric(answers: Answers, counter: Counter) -> Answers:
    """The answers with what each example contributes to a metric; NaN where that is not known."""
    own = counter.contributions()
    if own is None or len(own) != len(answers.hits):
        own = answers.losses.double() * float("nan")
    return Answers(own, answers.losses, answers.labels, answers.given)


def as_task(task: TaskChoice | None) -> Task | None:
    """The task that an argument stands for; None for "auto".

    Raises:
        SettingError: there is no such task.
    """
    if task is None or task == AUTO:
        return None
    if isinstance(task, Task):
        return task
    if isinstance(task, type) and issubclass(task, Task):
        return task()
    if not isinstance(task, str):
        raise SettingError(f"The task is {shown(task)}; give a name or a Task.")
    if task not in tasks:
        raise SettingError(
            f"There is no task named '{task}'; {nearest(task, [AUTO, *tasks.names()])}"
        )
    return tasks.get(task)()


def as_scoring(
    task: TaskChoice | None = AUTO,
    metrics: Sequence[Metric] | Any = (),
    by: str | None = None,
    bins: Bins | None = None,
) -> Scoring:
    """The scoring of the arguments that functions take."""
    return Scoring(AUTO if task is None else task, metrics, by, bins or Bins())


__all__ = ["AUTO", "ScoredTally", "Scoring", "TaskChoice", "as_scoring", "as_task"]
