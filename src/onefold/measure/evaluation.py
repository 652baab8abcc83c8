"""Scores and agreement of one network, several, or their ensemble, in one pass over the data.

The task (`onefold.tasks`) says what is scored, and what an ensemble of K networks answers: for
classes the mean of their probabilities, (1/K) sum_k softmax(f_k(x)) (Lakshminarayanan et al. 2017,
arXiv 1612.01474), for numbers the mean of their outputs. `Scores.ensemble` names the mean that was
used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Batch, Data
from onefold.ensemble.mean import mean_output
from onefold.ensemble.names import ENSEMBLE_MEANS, EnsembleMean, check_ensemble, name_of
from onefold.ensemble.pool import ClassPool
from onefold.errors import DataError, SettingError
from onefold.inference import ClassAxis, Output, OutputChoice, as_output
from onefold.inference.running import eval_mode, networks, outputs_of
from onefold.isolation import isolated
from onefold.notebook import card
from onefold.sources import Members
from onefold.sources.class_names import class_names_of
from onefold.tasks import (
    AUTO,
    Bins,
    Classification,
    Reader,
    Rows,
    Scores,
    Scoring,
    Task,
    TaskChoice,
    as_scoring,
)
from onefold.tasks.calibration import Binning
from onefold.tasks.chance import InputFacts
from onefold.weights import warn_of_repeated

SCORING = "scoring"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Several networks on the same data.

    Attributes:
        members: each network's scores.
        ensemble: the scores of their ensemble; of one network alone its own.
        agreement: (K, K) float64, the shares of equal answers; None where answers are numbers.
    """

    members: tuple[Scores, ...]
    ensemble: Scores
    agreement: Tensor | None

    @property
    def best(self) -> int:
        """Index of the best member; on a tie the one of lower loss, then the first."""
        return max(range(len(self.members)), key=lambda k: self.members[k].rank)

    def __repr__(self) -> str:
        kind = self.members[0].kind
        values = [scores.primary for scores in self.members]
        return (
            f"Evaluation(members={len(self.members)}, {kind.name}={min(values):.4f} to"
            f" {max(values):.4f}, best={self.best}, ensemble={self.ensemble.primary:.4f})"
        )

    def _repr_html_(self) -> str:
        """The short form in a notebook: a row for every network, and one for their ensemble."""
        named = {f"network {k}": one for k, one in enumerate(self.members)}
        if len(self.members) > 1:
            named[f"ensemble of {len(self.members)}"] = self.ensemble
        first = self.members[0]
        kinds = [first.kind, *(kind for kind in first.kinds if kind.name != first.by)][:SHOWN]
        rows = [
            (
                name,
                *(
                    one.shown if kind.name == one.by else kind.shown(one[kind.name])
                    for kind in kinds
                ),
            )
            for name, one in named.items()
        ]
        title = f"Scores on {first.n:,} examples"
        return card(title, (), ("network", *(kind.label for kind in kinds)), rows)

    def __str__(self) -> str:
        lines = [f"member {k}: {scores}" for k, scores in enumerate(self.members)]
        return "\n".join([*lines, f"ensemble: {self.ensemble}"])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        members = [scores.to_dict() for scores in self.members]
        return {
            "members": members,
            "ensemble": self.ensemble.to_dict(),
            "agreement": None if self.agreement is None else self.agreement.tolist(),
        }


SHOWN = 4  # scores of a notebook's table


@checked
@isolated
def evaluate(
    model: nn.Module | Sequence[nn.Module],
    data: Data,
    *,
    task: TaskChoice = AUTO,
    metrics: Any = (),
    by: str | None = None,
    ensemble: EnsembleMean | ClassPool | None = None,
    bins: int = 15,
    binning: Binning = "equal-width",
    device: torch.device | str | None = None,
    output: OutputChoice = None,
) -> Scores:
    """Score one network, or the ensemble of several, on labelled data.

    An accuracy that is no better than answering always the same class has a `hint` (`Scores.hint`).
    The networks run in eval mode without gradients; their training flags are as before afterwards.
    Warns (RepeatedMembers) of a network that is given twice.

    Args:
        model: a network, or a list of networks, whose ensemble is then scored.
        data: batches with labels, in the shape that the task asks for: class numbers (n,) for
            logits (n, classes), numbers (n, d) for outputs (n, d), and so on (`onefold.tasks`).
        task: the name of a task, or a `Task`; "auto" tells it from outputs and labels.
        metrics: further scores: metrics of torchmetrics or functions of (outputs, labels), one or
            several (`onefold.Metric`).
        by: the name of the score that decides; None: the task's first.
        ensemble: what answers for several networks: a mean of "probabilities", "logits" or
            "outputs", or a pool (`onefold.class_pool`), as in `onefold.Ensemble`. None: the task's
            own mean.
        bins: of the calibration error.
        binning: "equal-width" or "adaptive" (equal numbers of examples).
        device: where to compute; a network on another device is copied there. Default: each
            network's own device.
        output: which output is scored if a network returns several, and on which axis its classes
            lie (`onefold.inference`): a name, an index, a function, or an Output.

    Raises:
        DataError: the data is empty or has no labels, the labels do not fit the task or tell none,
            a network cannot run on a batch, or returns several outputs and `output` names none.
        MembersError: there is no network, or the networks' outputs differ in shape.
        SettingError: unknown task, metric, ensemble or binning, or a pool of another number of
            members.
    """
    models = networks(model)
    scoring = as_scoring(task, metrics, by, Bins(bins, binning))
    result = score_networks(models, data, scoring, ensemble, device, output)
    single = len(models) == 1 and not isinstance(ensemble, ClassPool)
    return result.members[0] if single else result.ensemble


@checked
@isolated
def evaluate_all(
    models: Sequence[nn.Module],
    data: Data,
    *,
    task: TaskChoice = AUTO,
    metrics: Any = (),
    by: str | None = None,
    ensemble: EnsembleMean | ClassPool | None = None,
    bins: int = 15,
    binning: Binning = "equal-width",
    device: torch.device | str | None = None,
    output: OutputChoice = None,
) -> Evaluation:
    """Score every network and their ensemble in one pass over the data.

    Args:
        models: one network or more.
        data: as in `evaluate`, and so are all further arguments.
        task: as in `evaluate`.
        metrics: as in `evaluate`.
        by: as in `evaluate`.
        ensemble: as in `evaluate`.
        bins: as in `evaluate`.
        binning: as in `evaluate`.
        device: as in `evaluate`.
        output: as in `evaluate`.

    Raises:
        DataError, MembersError, SettingError: as `evaluate`.
    """
    scoring = as_scoring(task, metrics, by, Bins(bins, binning))
    return score_networks(networks(models), data, scoring, ensemble, device, output)


def score_networks(
    models: Sequence[nn.Module],
    data: Data,
    scoring: Scoring,
    ensemble: EnsembleMean | ClassPool | None = None,
    device: torch.device | str | None = None,
    output: OutputChoice = None,
) -> Evaluation:
    """Score networks as `evaluate_all` does, for callers that hold a `Scoring`.

    Args:
        models: one network or more.
        data: batches with labels.
        scoring: the task, metrics and bins.
        ensemble: as in `evaluate`.
        device: as in `evaluate`.
        output: as in `evaluate`.

    Raises:
        DataError, MembersError, SettingError: as `evaluate`.
    """
    members = networks(models)
    if ensemble is not None:
        check_ensemble(ensemble, ENSEMBLE_MEANS, len(members))
    if scoring.named is not None:
        scoring.check(scoring.named)
    warn_of_repeated(members)
    members = members.on(device)
    scorer = _Scorer(members, scoring, ensemble, as_output(output), class_names_of(data))
    with eval_mode(members):
        for outputs, batch in outputs_of(members, data, "Scoring", scorer.output):
            scorer.add(outputs, batch)
    return scorer.evaluation()


class _Scorer:
    """Scores several networks and their ensemble, batch by batch."""

    def __init__(
        self,
        models: Members,
        scoring: Scoring,
        ensemble: EnsembleMean | ClassPool | None,
        output: Output,
        names: Sequence[str],
    ) -> None:
        self.output, self._scoring, self._ensemble = output, scoring, ensemble
        self._count = len(models)
        self._several = self._count > 1 or isinstance(ensemble, ClassPool)
        self._facts = InputFacts(names)
        self._task: Task | None = None
        self._equal = torch.zeros(self._count, self._count, dtype=torch.float64)
        self._answered = 0

    def add(self, outputs: Sequence[Tensor], batch: Batch) -> None:
        """Add one batch of every network."""
        self._facts.see(batch)
        task, reader = self._begin(outputs[0], batch)
        values = [reader.values(own, batch) for own in outputs]
        targets = reader.targets(values[0], batch)
        rows = [_wide(targets.rows(own), task) for own in values]
        for tally, own, value in zip(self._tallies, rows, values, strict=True):
            tally.add(reader, value, outputs[0], batch, own)
        if self._several:
            mean = mean_output([own.values for own in rows], self._mean, task)
            whole = values[0]
            if self._scoring.metrics:
                whole = mean_output(values, self._mean, task)
            self._together.add(reader, whole, outputs[0], batch, replace(rows[0], values=mean))
        answers = [task.answers(own.values) for own in rows]
        if answers[0] is not None:
            told = [own for own in answers if own is not None]
            self._answered += len(told[0])
            self._equal += _equal(told)

    def _begin(self, outputs: Tensor, batch: Batch) -> tuple[Task, Reader]:
        """The task and the reader, which the first batch tells."""
        if self._task is None:
            task = self._scoring.told(outputs, batch, self.output)
            self._task, self._reader = task, task.reader(self.output, SCORING)
            self._mean = mean_of(task, self._ensemble)
            self._tallies = [self._scoring.tally(task) for _ in range(self._count)]
            self._together = self._scoring.tally(task)
        return self._task, self._reader

    def evaluation(self) -> Evaluation:
        """The scores of all that was added."""
        members = tuple(tally.scores(facts=self._facts) for tally in self._tallies)
        shares = self._equal / self._answered if self._answered else None
        if not self._several:
            return Evaluation(members, members[0], shares)
        agree = None if shares is None else mean_of_pairs(shares)
        together = self._together.scores(self._count, name_of(self._mean), agree, self._facts)
        return Evaluation(members, together, shares)


def mean_of(task: Task, ensemble: EnsembleMean | ClassPool | None) -> EnsembleMean | ClassPool:
    """The ensemble that was asked for, or the task's own.

    Raises:
        SettingError: the task has no such ensemble.
    """
    if isinstance(ensemble, ClassPool):
        if not task.classes:
            raise SettingError(
                f"A pool of classes is for classifiers, and the task is {task.name}; leave it out."
            )
        return ensemble
    return task.default_mean(ensemble)


def _wide(rows: Rows, task: Task) -> Rows:
    """The rows in float64 on the CPU, if the task is scored so."""
    return replace(rows, values=rows.values.cpu().double()) if task.wide else rows


@checked
@isolated
def agreement(
    models: Sequence[nn.Module],
    data: Data,
    *,
    task: TaskChoice = AUTO,
    device: torch.device | str | None = None,
    output: OutputChoice = None,
) -> Tensor:
    """The shares of examples (K, K), float64, on which two networks give the same answer.

    Labels are not needed; if there are some, their shape says where the classes lie.

    Args:
        models: K networks.
        data: batches.
        task: the name of a task whose answers can be equal, or a `Task`; "auto": classes.
        device: as in `evaluate`.
        output: as in `evaluate`.

    Raises:
        DataError: the data is empty or a network cannot run on it, or the answers are numbers.
        MembersError: there is no network, or the networks have different numbers of classes.
    """
    models = networks(models).on(device)
    equal = torch.zeros(len(models), len(models), dtype=torch.float64)
    meant, n = as_output(output), 0
    named = as_scoring(task).named
    reader = named.reader(meant, "comparing answers") if named else None
    axis = ClassAxis(meant, "comparing answers")
    with eval_mode(models):
        for found, batch in outputs_of(models, data, "Comparing", meant):
            if reader is None or named is None:
                where = f" of batch {batch.index}"
                values = [axis.last(own, batch.labels, where=where) for own in found]
                answers = [CLASSES.answers(own) for own in values]
            else:
                own = [named.answers(reader.values(out, batch)) for out in found]
                answers = [one for one in own if one is not None]
                if not answers:
                    raise DataError(
                        f"The answers of {named.name} are numbers, which are hardly ever equal;"
                        " compare their scores."
                    )
            rows = [one.reshape(-1).cpu() for one in answers]
            n += len(rows[0])
            equal += _equal(rows)
    return equal / n


CLASSES = Classification()


def _equal(answers: Sequence[Tensor]) -> Tensor:
    """Numbers (K, K) of equal answers; one that is missing agrees with no other member's."""
    told = torch.stack(
        [own.cpu().masked_fill(own.cpu() < 0, -1 - k) for k, own in enumerate(answers)]
    )
    return (told.unsqueeze(0) == told.unsqueeze(1)).double().sum(-1)


def mean_of_pairs(shares: Tensor) -> float:
    """The mean over all pairs of different networks of a symmetric (K, K)."""
    first, second = torch.triu_indices(len(shares), len(shares), offset=1, device=shares.device)
    return float(shares[first, second].mean())
