"""The scores of one network or ensemble on labelled examples, whatever its task.

The scores of a task come by name, as `scores["rmse"]`. One of them decides wherever networks are
compared (`Scores.primary`), and one is the loss that settles ties (`Scores.loss`). Which they are,
in which unit and direction, is said by the task (`onefold.tasks`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from onefold.errors import DataError, SettingError, nearest
from onefold.finite import finite
from onefold.notebook import card
from onefold.tasks.answers import Answers, mean_error
from onefold.tasks.calibration import Binning
from onefold.tasks.classes import ClassCounts
from onefold.tasks.means import EnsembleName
from onefold.tasks.score import ACCURACY, BRIER, ECE, NLL, Score

CLASSIFIED = (ACCURACY, NLL, ECE, BRIER)  # the scores of a classifier
PLAIN = ("values", "kinds")  # fields that `to_dict` writes in a form of their own


@dataclass(frozen=True)
class Scores:
    """The scores of one network or ensemble on n labelled examples.

    Attributes:
        values: name -> score, in the order in which they are shown; shares are fractions of 1.
        n: the number of examples. An image whose pixels have labels is one example.
        kinds: what every score means, in the same order.
        task: the name of the task.
        by: the name of the score that decides.
        loss_name: the name of the score that is the loss.
        bins: of the calibration error.
        binning: of the calibration error.
        members: the number of networks.
        ensemble: what was averaged; None for one network.
        agreement: the mean share of equal predictions of two members; None for one network, and
            where outputs are no classes.
        nonfinite: how many examples had outputs that are not finite. They count as wrong answers.
        ignored: how many labels were no class (-100, 255) and were left out.
        hint: what to check if the accuracy is near chance, else "" (see chance.py).
        renumbered: for each label the class that is answered, if another numbering would be far
            more accurate.
        answers: what every example contributes, by which differences are paired; no part of
            `to_dict` or of equality.
        classes: the counts class by class; no part of `to_dict` or of equality.
    """

    values: Mapping[str, float]
    n: int
    kinds: tuple[Score, ...] = field(default=CLASSIFIED, repr=False)
    task: str = "classification"
    by: str = ""
    loss_name: str = ""
    bins: int = 15
    binning: Binning = "equal-width"
    members: int = 1
    ensemble: EnsembleName | None = None
    agreement: float | None = None
    nonfinite: int = 0
    ignored: int = 0
    hint: str = ""
    renumbered: tuple[int, ...] | None = field(default=None, repr=False)
    answers: Answers | None = field(default=None, repr=False, compare=False)
    classes: ClassCounts | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.by:
            object.__setattr__(self, "by", self.kinds[0].name)
        if not self.loss_name:
            object.__setattr__(self, "loss_name", "nll")

    @classmethod
    def of_classifier(
        cls, accuracy: float, nll: float, ece: float, brier: float, n: int, **facts: Any
    ) -> Scores:
        """The scores of a classifier; `facts` are further fields."""
        return cls({"accuracy": accuracy, "nll": nll, "ece": ece, "brier": brier}, n, **facts)

    def __getitem__(self, name: str) -> float:
        """The score of that name.

        Raises:
            SettingError: the task has no such score.
        """
        try:
            return self.values[name]
        except KeyError:
            raise SettingError(
                f"The scores of {self.task} have no '{name}'; {nearest(name, self.values)}"
            ) from None

    @property
    def accuracy(self) -> float:
        """The share of right answers, a fraction of 1; for tasks that have one."""
        return self["accuracy"]

    @property
    def nll(self) -> float:
        """The negative log-likelihood, in nats; for tasks that have one."""
        return self["nll"]

    @property
    def ece(self) -> float:
        """The expected calibration error, a fraction of 1; for tasks that have one."""
        return self["ece"]

    @property
    def brier(self) -> float:
        """The Brier score, from 0 to 2; for tasks that have one."""
        return self["brier"]

    @property
    def kind(self) -> Score:
        """What the deciding score means."""
        return self.kind_of(self.by)

    def kind_of(self, name: str) -> Score:
        """What the score of that name means."""
        return next(one for one in self.kinds if one.name == name)

    @property
    def primary(self) -> float:
        """The score that decides."""
        return self[self.by]

    @property
    def loss(self) -> float:
        """The loss that settles ties; less is better."""
        return self[self.loss_name]

    @property
    def loss_kind(self) -> Score:
        """What the loss means."""
        return self.kind_of(self.loss_name)

    @property
    def rank(self) -> tuple[float, float]:
        """The key of comparison, more is better: the deciding score, and on a tie the loss."""
        return self.kind.better(self.primary), -self.loss

    @property
    def error(self) -> float:
        """The standard error of the deciding score: how far another test set would move it.

        It is that of a binomial share for an accuracy of single answers. It is NaN where single
        answers were not kept, or are not finite.
        """
        if self.answers is not None and not self.answers.single:
            return mean_error(self.answers.hits)
        if self.by == "accuracy":
            return self.accuracy_error
        return math.nan

    @property
    def accuracy_error(self) -> float:
        """Binomial standard error of the accuracy, a fraction of 1.

        It says how far another test set of this size would move the accuracy.
        """
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.n)

    @property
    def shown(self) -> str:
        """The deciding score with its unit and standard error, as "81.30 % ± 0.40"."""
        kind, error = self.kind, self.error
        text = kind.shown(self.primary)
        return text if math.isnan(error) else f"{text} ± {kind.scale * error:.{kind.digits}f}"

    def __str__(self) -> str:
        parts = []
        for kind in self.kinds:
            text = f"{kind.label} {kind.shown(self.values[kind.name])}"
            if kind.name == self.by and not math.isnan(self.error):
                text += f" (standard error {kind.scale * self.error:.{kind.digits}f})"
            if kind.name == "ece":
                text += f" ({self.bins} {self.binning} bins)"
            parts.append(text)
        parts.append(f"n = {self.n}")
        if self.ensemble:
            parts.append(f"ensemble of {self.members} by mean {self.ensemble}")
        if self.agreement is not None:
            parts.append(f"members agree on {100 * self.agreement:.2f} %")
        if self.nonfinite:
            parts.append(f"{self.nonfinite} examples with non-finite outputs, counted as wrong")
        if self.ignored:
            parts.append(f"{self.ignored} labels that are no class left out")
        return ", ".join(parts) + (f"; {self.hint}" if self.hint else "")

    def _repr_html_(self) -> str:
        """The short form in a notebook."""
        title = f"Scores on {self.n:,} examples"
        if self.ensemble:
            title += f" of an ensemble of {self.members}"
        row = [
            self.shown if kind.name == self.by else kind.shown(self.values[kind.name])
            for kind in self.kinds
        ]
        hint = f"{self.hint[:1].upper()}{self.hint[1:]}." if self.hint else ""
        return card(title, [hint], tuple(kind.label for kind in self.kinds), [tuple(row)])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON: every score by its name, then the other facts.

        JSON has no infinity: an infinite or undefined number becomes the string "inf" or "nan".
        """
        facts = {
            each.name: finite(getattr(self, each.name))
            for each in fields(self)
            if each.compare and each.name not in PLAIN
        }
        units = {kind.name: kind.to_dict() for kind in self.kinds}
        return {**finite(dict(self.values)), **facts, "units": units}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scores:
        """The inverse of `to_dict`.

        Raises:
            DataError: entries are missing or unknown.
        """
        try:
            known: dict[str, Any] = {
                key: float(value) if value in ("inf", "-inf", "nan") else value
                for key, value in values.items()
                if key != "units"
            }
            own = _kinds_of(values.get("task", ""))
            kinds = tuple(_kind(of_one, own) for of_one in values["units"].values())
            if isinstance(known.get("renumbered"), list):
                known["renumbered"] = tuple(known["renumbered"])
            numbers = {kind.name: known.pop(kind.name) for kind in kinds}
            return cls(numbers, kinds=kinds, **known)
        except (TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"These are no scores ({error}); pass what Scores.to_dict returned."
            ) from None


def _kinds_of(task: str) -> dict[str, Score]:
    """The scores of the task of that name, as far as it is known here."""
    from onefold.tasks.base import tasks

    known = (*CLASSIFIED, *(tasks.get(task).scores if task in tasks else ()))
    return {one.name: one for one in known}


def _kind(values: Mapping[str, Any], known: Mapping[str, Score]) -> Score:
    """The inverse of `Score.to_dict`; how it is shown follows from the task, or from the unit."""
    if values["name"] in known and known[values["name"]].to_dict() == dict(values):
        return known[values["name"]]
    percent = values["unit"] == "%"
    return Score(**values, scale=100 if percent else 1, digits=2 if percent else 4)


__all__ = ["Scores"]
