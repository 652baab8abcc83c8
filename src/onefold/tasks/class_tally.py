"""The tally of rows of which one class is right: accuracy, likelihood, calibration, Brier score.

For n rows with predicted probabilities p_ic and labels y_i:

    accuracy = mean_i [argmax_c p_ic = y_i]
    NLL      = mean_i -log p_(i, y_i)                   in nats
    ECE      : see calibration.py
    Brier    = mean_i sum_c (p_ic - [c = y_i])^2        from 0 to 2 (Brier 1950)

A soft label is a row of probabilities t_ic: NLL is -sum_c t_ic log p_ic, the Brier score takes
t_ic for [c = y_i], and the right class is the one of the highest t_ic.

All sums run in float64. A row whose logits hold a NaN or +inf (or -inf only) has no probabilities.
It counts as a wrong answer given with full confidence, so that NLL is infinite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onefold.errors import DataError
from onefold.inference.outputs import broken_rows
from onefold.tasks.answers import Answers, AnswersKept
from onefold.tasks.base import Bins, Counted, Rows, Tally
from onefold.tasks.calibration import Reliability, bin_confidences
from onefold.tasks.chance import AnswerCounts, InputFacts


class ClassTally(Tally):
    """Adds up the scores of a classifier batch by batch.

    The confidence of every row (9 bytes each) is held for the calibration bins, and its hit, loss
    and class (7 to 9 bytes) for paired differences.
    """

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.n = self.nonfinite = self.ignored = 0
        self.nll = self.brier = 0.0
        self._confidence: list[Tensor] = []
        self._correct: list[Tensor] = []
        self._answers = AnswersKept()
        self._counts = AnswerCounts()

    def add(self, rows: Rows) -> None:
        """Add rows of logits (r, C) with class numbers (r,) or probabilities (r, C)."""
        self.ignored += rows.ignored
        self._add(rows.values.cpu().double(), rows.targets.cpu())

    def _add(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Add float64 rows; returns hits, losses, labels and answers, each (r,)."""
        soft = targets.is_floating_point()
        labels = targets.argmax(-1) if soft else targets
        broken = broken_rows(logits)
        log_p = torch.log_softmax(logits, -1)
        p = log_p.exp()
        if soft:
            share = targets.double()
            nll = -torch.where(share > 0, share * log_p, 0.0).sum(-1)
            brier = (p - share).square().sum(-1)
        else:
            target = labels.unsqueeze(-1)
            nll = -log_p.gather(-1, target).squeeze(-1)
            brier = p.square().sum(-1) - 2 * p.gather(-1, target).squeeze(-1) + 1
        confidence, prediction = p.max(-1)
        self.n += len(labels)
        self.nonfinite += int(broken.sum())
        nll = nll.masked_fill(broken, torch.inf)
        self.nll += float(nll.sum())
        self.brier += float(brier.masked_fill(broken, 2.0).sum())
        self._confidence.append(confidence.masked_fill(broken, 1.0).clamp(max=1.0))
        hits = (prediction == labels) & ~broken
        self._correct.append(hits)
        given = prediction.masked_fill(broken, -1)
        self._answers.add(hits, nll, labels, given)
        self._counts.add(logits, given, labels)
        return hits, nll, labels, given

    def reliability(self) -> Reliability:
        """The calibration curve of all that was added.

        Raises:
            DataError: nothing was added.
        """
        check_count(self.n, self.ignored)
        return bin_confidences(
            torch.cat(self._confidence), torch.cat(self._correct), self.bins.bins, self.bins.binning
        )

    def values(self) -> dict[str, float]:
        """The scores by name.

        Raises:
            DataError: nothing was added.
        """
        ece = self.reliability().ece
        return {
            "accuracy": float(torch.cat(self._correct).double().mean()),
            "nll": self.nll / self.n,
            "ece": ece,
            "brier": max(self.brier / self.n, 0.0),
        }

    def counted(self, by: str, facts: InputFacts | None = None) -> Counted:
        """The scores of all that was added, paired by accuracy or by NLL."""
        values, answers = self.values(), self._answers.answers()
        if by != "accuracy":
            own = answers.losses.double() if by == "nll" else torch.full((self.n,), torch.nan)
            answers = Answers(own.double(), answers.losses, answers.labels, answers.given)
        hint, renumbered = self._counts.hint(facts)
        by_class = self._counts.by_class()
        return Counted(values, self.n, answers, self.nonfinite, hint, renumbered, by_class)


def check_count(n: int, ignored: int) -> None:
    """Refuse a tally of nothing.

    Raises:
        DataError: there is no example.
    """
    if n == 0:
        left = f", as all {ignored} labels are negative, 255 or missing" * bool(ignored)
        raise DataError(f"There is no example to score{left}; pass at least one.")


__all__ = ["ClassTally", "check_count"]
