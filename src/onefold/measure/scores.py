"""Scores of predictions: accuracy, negative log-likelihood, calibration error and Brier score.

For n examples with predicted probabilities p_ic and labels y_i:

    accuracy = mean_i [argmax_c p_ic = y_i]
    NLL      = mean_i -log p_(i, y_i)                   in nats
    ECE      : see calibration.py
    Brier    = mean_i sum_c (p_ic - [c = y_i])^2        from 0 to 2 (Brier 1950)

All sums run in float64. An example whose logits hold a NaN or +inf (or -inf only) has no
probabilities. It counts as a wrong answer given with full confidence, so that NLL is infinite, and
`Scores.nonfinite` says how many there were.

A label that is no class is left out of every score and of n: a negative one (-100, the ignore index
of torch), and 255 (of segmentation masks) if there are no more classes. `Scores.ignored` counts
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor

from onefold.ensemble.names import EnsembleName
from onefold.errors import DataError, SettingError, nearest
from onefold.finite import finite
from onefold.inference import class_axes
from onefold.inference.outputs import broken_rows
from onefold.measure.answers import Answers, AnswersKept
from onefold.measure.calibration import Binning, Reliability, bin_confidences, check_binning
from onefold.measure.chance import AnswerCounts, InputFacts
from onefold.measure.classes import ClassCounts
from onefold.notebook import card

IGNORED = 255  # of segmentation masks: a border, or an object of no class
OutputKind = Literal["logits", "probabilities"]
OUTPUT_KINDS: tuple[OutputKind, ...] = ("logits", "probabilities")


@dataclass(frozen=True)
class Scores:
    """The scores of one network or ensemble on n labelled examples.

    Attributes:
        accuracy: a fraction of 1.
        nll: the negative log-likelihood, in nats.
        ece: the expected calibration error, a fraction of 1.
        brier: from 0 to 2.
        n: the number of examples.
        bins: of the calibration error.
        binning: of the calibration error.
        members: the number of networks.
        ensemble: what was averaged; None for one network.
        agreement: the mean share of equal predictions of two members; None for one network.
        nonfinite: how many examples had no finite probabilities. They count as wrong answers.
        ignored: how many labels were no class (-100, 255) and were left out; n does not count them.
        hint: what to check if the accuracy is near chance, else "" (see chance.py).
        renumbered: for each label the class that is answered, if another numbering would be far
            more accurate.
        answers: every example's hit, loss and class, by which differences are paired; no
            part of `to_dict` or of equality.
        classes: the counts class by class; no part of `to_dict` or of equality.
    """

    accuracy: float
    nll: float
    ece: float
    brier: float
    n: int
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

    @property
    def accuracy_error(self) -> float:
        """Binomial standard error of the accuracy, a fraction of 1.

        It says how far another test set of this size would move the accuracy.
        """
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.n)

    def __str__(self) -> str:
        parts = [
            (
                f"accuracy {100 * self.accuracy:.2f} % (standard error"
                f" {100 * self.accuracy_error:.2f})"
            ),
            f"NLL {self.nll:.4f} nats",
            f"ECE {100 * self.ece:.2f} % ({self.bins} {self.binning} bins)",
            f"Brier {self.brier:.4f}",
            f"n = {self.n}",
        ]
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
        row = (
            f"{100 * self.accuracy:.2f} % ± {100 * self.accuracy_error:.2f}",
            f"{self.nll:.4f} nats",
            f"{100 * self.ece:.2f} %",
            f"{self.brier:.4f}",
        )
        hint = f"{self.hint[:1].upper()}{self.hint[1:]}." if self.hint else ""
        return card(title, [hint], ("accuracy", "NLL", "ECE", "Brier score"), [row])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON.

        JSON has no infinity: an infinite or undefined number becomes the string "inf" or "nan".
        """
        return {
            each.name: finite(getattr(self, each.name)) for each in fields(self) if each.compare
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scores:
        """The inverse of `to_dict`.

        Raises:
            DataError: entries are missing or unknown.
        """
        try:
            known: dict[str, Any] = {
                key: float(value) if value in ("inf", "-inf", "nan") else value
                for key, value in values.items()
            }
            if isinstance(known.get("renumbered"), list):
                known["renumbered"] = tuple(known["renumbered"])
            return cls(**known)
        except TypeError as error:
            raise DataError(
                f"These are no scores ({error}); pass what Scores.to_dict returned."
            ) from None


def score_logits(
    logits: Tensor, labels: Tensor, *, bins: int = 15, binning: Binning = "equal-width"
) -> Scores:
    """Score logits against labels.

    Args:
        logits: (n, classes) or (..., classes), which is flattened, of any floating dtype; (n,
            classes, ...) with labels (n, ...) is fine, too. If both fit, the last axis is taken.
        labels: (n,) or (...) of integers.
        bins: of the calibration error.
        binning: "equal-width" or "adaptive".

    Raises:
        DataError: the shapes do not fit, a label lies outside 0..classes-1, or there is no example.
        SettingError: unknown binning, or fewer than one bin.
    """
    tally = Tally(bins, binning)
    rows, kept = flatten(_classes_last(logits, labels), labels)
    tally.add(rows, kept, labels.numel() - len(kept))
    return tally.scores()


def score_probabilities(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, binning: Binning = "equal-width"
) -> Scores:
    """Score probabilities (n, classes), whose rows sum to 1; otherwise as `score_logits`.

    Raises:
        DataError: as `score_logits`, or a row is negative somewhere or does not sum to 1 (rows with
            NaN count as non-finite instead).
    """
    return score_logits(
        _log(_classes_last(probabilities, labels)), labels, bins=bins, binning=binning
    )


def reliability(
    outputs: Tensor,
    labels: Tensor,
    *,
    bins: int = 15,
    binning: Binning = "equal-width",
    kind: OutputKind = "logits",
) -> Reliability:
    """The calibration curve of logits or probabilities.

    Args:
        outputs: (n, classes).
        labels: (n,) of integers.
        bins: number of bins.
        binning: "equal-width" or "adaptive".
        kind: whether `outputs` are "logits" or "probabilities".

    Raises:
        DataError: as `score_logits` and `score_probabilities`.
        SettingError: as `score_logits`, or an unknown kind.
    """
    if kind not in OUTPUT_KINDS:
        raise SettingError(
            f"There is no kind of outputs named '{kind}'; {nearest(kind, OUTPUT_KINDS)}"
        )
    tally = Tally(bins, binning)
    outputs = _classes_last(outputs, labels)
    tally.add(*flatten(_log(outputs) if kind == "probabilities" else outputs, labels))
    return tally.reliability()


def flatten(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (..., classes) and labels (...) as (n, classes) and (n,), checked.

    Examples whose label is no class (-100, 255) are left out.

    Returns:
        The logits in float64 and the labels in int64, both on the CPU.

    Raises:
        DataError: the shapes do not fit, the labels are no integers, or one lies outside
            0..classes-1.
    """
    if logits.dim() < 2 or logits.shape[-1] < 2 or not logits.is_floating_point():
        dtype = str(logits.dtype).removeprefix("torch.")
        raise DataError(
            f"The outputs have shape {tuple(logits.shape)} and dtype {dtype}; scores need floating"
            " logits (n, classes), two classes or more."
        )
    if labels.shape != logits.shape[:-1]:
        raise DataError(
            f"The labels have shape {tuple(labels.shape)} but the logits {tuple(logits.shape)};"
            f" give labels {tuple(logits.shape[:-1])}."
        )
    classes = logits.shape[-1]
    kept = ~is_ignored(labels, classes)
    flat = check_labels(labels[kept], classes)
    return logits[kept.to(logits.device)].reshape(-1, classes).cpu().double(), flat


def is_ignored(labels: Tensor, classes: int) -> Tensor:
    """Which labels, of any shape, say that an example has no class.

    These are negative ones, and 255 if there is no such class.
    """
    return (labels < 0) | ((labels == IGNORED) & (classes <= IGNORED))


def check_labels(labels: Tensor, classes: int) -> Tensor:
    """Labels of any shape as (n,) int64 on the CPU.

    Raises:
        DataError: they are no integers from 0 to classes - 1.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise DataError(
            f"The labels are {str(labels.dtype).removeprefix('torch.')}; scores need class numbers,"
            " so convert them with .long()."
        )
    flat = labels.reshape(-1).cpu().long()
    if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < classes:
        found = f"{int(flat.min())} to {int(flat.max())}"
        todo = (
            "they seem to count from 1, so subtract 1"
            if int(flat.min()) == 1 and int(flat.max()) == classes
            else "renumber or drop them"
        )
        raise DataError(
            f"The labels range from {found}, but the network has {classes} classes, numbered 0 to"
            f" {classes - 1}; {todo}."
        )
    return flat


class Tally:
    """Adds up scores batch by batch.

    Sums are float64. The confidence of every example (9 bytes each) is held for the calibration
    bins, and its hit, loss and class (7 to 9 bytes) for paired differences.
    """

    def __init__(self, bins: int = 15, binning: Binning = "equal-width") -> None:
        check_binning(bins, binning)
        self.bins, self.binning = bins, binning
        self.n = self.nonfinite = self.ignored = 0
        self.nll = self.brier = 0.0
        self._confidence: list[Tensor] = []
        self._correct: list[Tensor] = []
        self._answers = AnswersKept()
        self._counts = AnswerCounts()

    def add(self, logits: Tensor, labels: Tensor, ignored: int = 0) -> None:
        """Add one batch, as `flatten` returns it.

        Args:
            logits: (n, classes) float64, unnormalised.
            labels: (n,).
            ignored: how many labels `flatten` left out.
        """
        self.ignored += ignored
        broken = broken_rows(logits)
        log_p = torch.log_softmax(logits, -1)
        p = log_p.exp()
        target = labels.unsqueeze(-1)
        nll = -log_p.gather(-1, target).squeeze(-1)
        brier = p.square().sum(-1) - 2 * p.gather(-1, target).squeeze(-1) + 1
        confidence, prediction = p.max(-1)
        self.n += len(labels)
        self.nonfinite += int(broken.sum())
        self.nll += float(nll.masked_fill(broken, torch.inf).sum())
        self.brier += float(brier.masked_fill(broken, 2.0).sum())
        self._confidence.append(confidence.masked_fill(broken, 1.0).clamp(max=1.0))
        self._correct.append((prediction == labels) & ~broken)
        given = prediction.masked_fill(broken, -1)
        self._answers.add(self._correct[-1], nll.masked_fill(broken, torch.inf), labels, given)
        self._counts.add(logits, given, labels)

    def reliability(self) -> Reliability:
        """The calibration curve of all that was added.

        Raises:
            DataError: nothing was added.
        """
        if self.n == 0:
            left = f", as all {self.ignored} labels are negative or {IGNORED}" * bool(self.ignored)
            raise DataError(f"There is no example to score{left}; pass at least one.")
        return bin_confidences(
            torch.cat(self._confidence), torch.cat(self._correct), self.bins, self.binning
        )

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
        ece = self.reliability().ece
        accuracy = float(torch.cat(self._correct).double().mean())
        nll, brier = self.nll / self.n, max(self.brier / self.n, 0.0)
        return Scores(
            accuracy,
            nll,
            ece,
            brier,
            self.n,
            self.bins,
            self.binning,
            members,
            ensemble,
            agreement,
            self.nonfinite,
            self.ignored,
            *self._counts.hint(facts),
            self._answers.answers(),
            self._counts.by_class(),
        )


def _classes_last(logits: Tensor, labels: Tensor) -> Tensor:
    axes = class_axes(tuple(logits.shape), tuple(labels.shape))
    return logits.movedim(axes[-1], -1) if axes else logits


def _log(probabilities: Tensor) -> Tensor:
    p = probabilities.double()
    wrong = (p < 0).any(-1) | ((p.sum(-1) - 1).abs() > 1e-2)  # 1e-2: bfloat16 rows
    if bool((wrong & p.isfinite().all(-1)).any()):
        raise DataError(
            "A row of the probabilities is negative somewhere or does not sum to 1; pass logits to"
            " score_logits instead."
        )
    return p.log()
