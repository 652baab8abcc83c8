"""The tally of images or series of which every position has a class.

    mean IoU = mean_c I_c / U_c over classes with U_c > 0
    I_c: positions of class c that are answered c; U_c: positions that are c or answered c

over all images together (Everingham et al. 2010, "The Pascal Visual Object Classes Challenge",
International Journal of Computer Vision 88). All other scores are means over positions.

The examples are the images or series, not their positions, which are no independent draws. What an
example contributes follows from its own numbers (`answers.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from onefold.tasks.answers import Answers, Fingerprint, contributions, per_example
from onefold.tasks.base import Bins, Counted, Rows
from onefold.tasks.chance import InputFacts
from onefold.tasks.class_tally import ClassTally

HITS, COUNT, LOSS, CLASSES = 0, 1, 2, 3  # columns of an example's numbers; then I_c and U_c


class DenseTally(ClassTally):
    """Adds up the scores of classes at positions, with 3 + 2 C numbers for every example.

    Args:
        bins: of the calibration error.
        overlaps: whether intersections and unions are counted.
    """

    def __init__(self, bins: Bins, *, overlaps: bool) -> None:
        super().__init__(bins)
        self._overlaps = overlaps
        self._numbers: list[Tensor] = []
        self._broken = 0
        self._fingerprint = Fingerprint()

    def add(self, rows: Rows) -> None:
        """Add rows of logits (r, C) with class numbers (r,) and their owners."""
        self.ignored += rows.ignored
        logits = rows.values.cpu().double()
        hits, nll, labels, given = self._add(logits, rows.targets.cpu())
        own = [hits.double(), torch.ones_like(nll), nll]
        numbers = [torch.stack(own, 1)]
        if self._overlaps:
            classes = torch.arange(logits.shape[-1])
            said, is_one = given.unsqueeze(-1) == classes, labels.unsqueeze(-1) == classes
            numbers += [(said & is_one).double(), (said | is_one).double()]
        found = per_example(torch.cat(numbers, 1), rows.owners, rows.count)
        found = found[found[:, COUNT] > 0]
        self._numbers.append(found)
        self._broken += int((~found[:, LOSS].isfinite()).sum())
        self._fingerprint.add(labels)

    def values(self) -> dict[str, float]:
        """The scores by name, with "mean_iou" if overlaps are counted."""
        found = super().values()
        if not self._overlaps:
            return found
        mean = torch.cat(self._numbers).mean(0)
        return {"mean_iou": float(mean_overlap(mean)), **found}

    def counted(self, by: str, facts: InputFacts | None = None) -> Counted:
        """The scores of all that was added, paired by example."""
        found = super().counted("accuracy", facts)
        numbers = torch.cat(self._numbers)
        own = torch.full((len(numbers),), torch.nan, dtype=torch.float64)
        if by in RATIOS:
            own = contributions(numbers, RATIOS[by])[1]
        losses = (numbers[:, LOSS] / numbers[:, COUNT]).float()
        answers = Answers(own, losses, str(self._fingerprint))
        return Counted(
            found.values,
            len(numbers),
            answers,
            self._broken,
            found.hint,
            found.renumbered,
            found.classes,
        )


def mean_overlap(mean: Tensor) -> Tensor:
    """The mean of intersections over unions, of the means of an example's numbers."""
    inside, union = mean[CLASSES:].chunk(2)
    seen = union > 0
    return (inside[seen] / union[seen]).mean()


RATIOS: dict[str, Callable[[Tensor], Tensor]] = {
    "accuracy": lambda mean: mean[HITS] / mean[COUNT],
    "nll": lambda mean: mean[LOSS] / mean[COUNT],
    "mean_iou": mean_overlap,
}

__all__ = ["DenseTally", "mean_overlap"]
