"""The tallies of yes and no: of one logit, and of a logit for each of several labels.

    accuracy = mean [(z > 0) = y]       NLL = mean -log p(y)        Brier = mean 2 (p - y)^2
    AUROC, average precision: see ranking.py.  ECE: of the confidence max(p, 1 - p)
    micro F1 = 2 TP / (2 TP + FP + FN) over all labels

The Brier score is that of two classes, from 0 to 2. mAP is the mean of the average precisions of
the labels that some example has.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onefold.tasks.answers import Answers, Fingerprint, contributions, per_example
from onefold.tasks.base import Bins, Counted, Rows, Tally
from onefold.tasks.calibration import bin_confidences
from onefold.tasks.chance import InputFacts
from onefold.tasks.class_tally import check_count
from onefold.tasks.ranking import auroc, average_precision


class BinaryTally(Tally):
    """Adds up single logits; 17 bytes are kept for each row, and three numbers for each example."""

    def __init__(self, bins: Bins) -> None:
        self._bins = bins
        self._values: list[Tensor] = []
        self._yes: list[Tensor] = []
        self._owners: list[Tensor] = []
        self._fingerprint = Fingerprint()
        self._ignored = self._examples = 0

    def add(self, rows: Rows) -> None:
        """Add logits (r, 1) with targets (r, 1)."""
        self._ignored += rows.ignored
        self._values.append(rows.values[:, 0].cpu().double())
        self._yes.append(rows.targets[:, 0].cpu() > 0.5)
        count = rows.count
        own = torch.arange(count) if rows.owners is None else rows.owners
        self._owners.append(own + self._examples)
        self._examples += count
        self._fingerprint.add(rows.targets)

    def counted(self, by: str, facts: InputFacts | None = None) -> Counted:
        """The scores of all that was added. AUROC is paired where every row is an example."""
        check_count(sum(map(len, self._values)), self._ignored)
        logits, yes = torch.cat(self._values), torch.cat(self._yes)
        broken = ~logits.isfinite()
        hits = ((logits > 0) == yes) & ~broken
        nll = -functional.logsigmoid(torch.where(yes, logits, -logits))
        nll = nll.masked_fill(broken, torch.inf)
        p = logits.sigmoid()
        brier = (2 * (p - yes.double()).square()).masked_fill(broken, 2.0)
        sure = torch.maximum(p, 1 - p).masked_fill(broken, 1.0)
        area, ranked = auroc(worst_where(broken, logits, yes), yes)
        values = {
            "accuracy": float(hits.double().mean()),
            "auroc": area,
            "nll": float(nll.mean()),
            "ece": bin_confidences(sure, hits, self._bins.bins, self._bins.binning).ece,
            "brier": float(brier.mean()),
        }
        owners = torch.cat(self._owners)
        if torch.equal(owners, torch.arange(self._examples)):  # every row is an example
            known = {"accuracy": hits, "auroc": ranked, "nll": nll, "brier": brier}
            own = known.get(by, torch.full_like(nll, torch.nan))
            answers = Answers(own, nll.float(), str(self._fingerprint))
            return Counted(values, self._examples, answers, int(broken.sum()))
        numbers = torch.stack([hits.double(), nll, brier, torch.ones_like(nll)], 1)
        numbers = per_example(numbers, owners, self._examples)
        numbers = numbers[numbers[:, 3] > 0]
        column = {"accuracy": 0, "nll": 1, "brier": 2}.get(by)
        own = torch.full((len(numbers),), torch.nan, dtype=torch.float64)
        if column is not None:
            own = contributions(numbers, lambda mean: mean[column] / mean[3])[1]
        losses = (numbers[:, 1] / numbers[:, 3]).float()
        answers = Answers(own, losses, str(self._fingerprint))
        return Counted(values, len(numbers), answers, int((~losses.isfinite()).sum()))


class MultilabelTally(Tally):
    """Keeps the logits and labels of all examples: 16 bytes for each label."""

    def __init__(self) -> None:
        self._values: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._fingerprint = Fingerprint()
        self._ignored = 0

    def add(self, rows: Rows) -> None:
        """Add logits (n, L) with targets (n, L)."""
        self._ignored += rows.ignored
        self._values.append(rows.values.cpu().double())
        self._targets.append(rows.targets.cpu())
        self._fingerprint.add(rows.targets.nan_to_num(-1.0))

    def counted(self, by: str, facts: InputFacts | None = None) -> Counted:
        """The scores of all that was added, paired by example."""
        check_count(sum(map(len, self._values)), self._ignored)
        logits, targets = torch.cat(self._values), torch.cat(self._targets)
        known, yes = ~targets.isnan(), targets > 0.5
        broken = ~logits.isfinite() & known
        areas, shares = _precisions(worst_where(broken, logits, yes), yes, known)
        said = torch.where(broken, ~yes, logits > 0)
        right, wrong = (said & yes).double(), ((said != yes) & known).double()
        nll = -functional.logsigmoid(torch.where(yes, logits, -logits))
        nll = (nll.masked_fill(broken, torch.inf).masked_fill(~known, 0.0)).sum(1)
        count = known.double().sum(1)
        numbers = torch.stack([right.sum(1), wrong.sum(1), nll, count], 1)
        value = {
            "f1": lambda mean: 2 * mean[0] / (2 * mean[0] + mean[1]).clamp_min(1e-12),
            "nll": lambda mean: mean[2] / mean[3],
        }
        mean = numbers.mean(0)
        values = {
            "mean_average_precision": areas,
            "f1": float(value["f1"](mean)),
            "nll": float(value["nll"](mean)),
        }
        own = contributions(numbers, value[by])[1] if by in value else shares
        losses = (nll / count.clamp_min(1)).float()
        answers = Answers(own, losses, str(self._fingerprint))
        return Counted(values, len(logits), answers, int(broken.any(1).sum()))


def worst_where(broken: Tensor, logits: Tensor, yes: Tensor) -> Tensor:
    """The logits; broken ones get the worst rank: of yes the lowest, of no the highest."""
    return torch.where(broken, torch.where(yes, -torch.inf, torch.inf), logits)


def _precisions(scores: Tensor, yes: Tensor, known: Tensor) -> tuple[float, Tensor]:
    """The mean average precision over labels, and the contributions (n,) of the examples."""
    areas: list[float] = []
    total = torch.zeros(len(scores), dtype=torch.float64)
    for label in range(scores.shape[1]):
        own = known[:, label]
        area, found = average_precision(scores[own, label], yes[own, label])
        if area != area:  # no example has this label
            continue
        areas.append(area)
        spread = torch.full_like(total, area)
        spread[own] = area + (len(total) / len(found)) * (found - area)
        total += spread
    if not areas:
        return float("nan"), torch.full_like(total, torch.nan)
    return sum(areas) / len(areas), total / len(areas)


__all__ = ["BinaryTally", "MultilabelTally"]
