"""Calibration: confidences in bins, and the expected calibration error.

Confidence is the largest predicted probability. In each bin b of examples, calibration is the
agreement of mean confidence and accuracy:

    ECE = sum_b (n_b / n) |accuracy_b - confidence_b|

Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks", section 2 (arXiv
1706.04599), for bins of equal width; Nguyen & O'Connor 2015 (arXiv 1508.05154), section 3, for bins
of equal mass, called "adaptive" here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from onefold.errors import SettingError, nearest

Binning = Literal["equal-width", "adaptive"]
BINNINGS: tuple[Binning, ...] = ("equal-width", "adaptive")


@dataclass(frozen=True)
class Reliability:
    """A calibration curve: the bins that are not empty, from low to high confidence.

    Attributes:
        confidence: the mean confidence of each bin, a fraction of 1.
        accuracy: of each bin, a fraction of 1.
        count: the number of examples in each bin.
        bins: the number of bins asked for, with empty ones.
        binning: "equal-width" or "adaptive".
    """

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]
    bins: int
    binning: Binning

    @property
    def ece(self) -> float:
        """Expected calibration error, a fraction of 1."""
        bins = zip(self.confidence, self.accuracy, self.count, strict=True)
        return sum(c * abs(a - p) for p, a, c in bins) / sum(self.count)

    def __repr__(self) -> str:
        return (
            f"Reliability(ece={self.ece:.4f}, n={sum(self.count)}, bins={self.bins},"
            f" filled={len(self.count)}, binning={self.binning!r})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)


def check_binning(bins: int, binning: str) -> None:
    """Check the number of bins and the binning.

    Raises:
        SettingError: the number is below 1, or the binning is unknown.
    """
    if bins < 1:
        raise SettingError(
            f"Calibration was asked for with {bins} bins; give at least 1 (15 is usual)."
        )
    if binning not in BINNINGS:
        raise SettingError(f"There is no binning named '{binning}'; {nearest(binning, BINNINGS)}")


def bin_confidences(
    confidence: Tensor, correct: Tensor, bins: int = 15, binning: Binning = "equal-width"
) -> Reliability:
    """Put predictions into bins by their confidence.

    The result does not depend on the order of the examples: equal confidences always share a bin.

    Args:
        confidence: (n,) largest predicted probability of each example, in [0, 1].
        correct: (n,) bool, whether the prediction was right.
        bins: number of bins.
        binning: "equal-width", bins (0, 1/bins], (1/bins, 2/bins], ...; or "adaptive", as equal as
            possible in numbers of examples.

    Raises:
        SettingError: unknown binning, or fewer than one bin.
    """
    check_binning(bins, binning)
    confidence, correct = confidence.double(), correct.double()
    if binning == "equal-width":
        edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=confidence.device)
        inner_edges = edges[1:-1]
    else:
        ranks = torch.arange(1, bins, device=confidence.device) * len(confidence) // bins - 1
        inner_edges = confidence.sort().values[ranks.clamp(min=0)]
    index = torch.bucketize(confidence, inner_edges)  # an edge belongs to the bin below it
    count = torch.bincount(index, minlength=bins)
    filled = count > 0
    mean_confidence = torch.bincount(index, confidence, minlength=bins)[filled] / count[filled]
    accuracy = torch.bincount(index, correct, minlength=bins)[filled] / count[filled]
    return Reliability(
        tuple(mean_confidence.tolist()),
        tuple(accuracy.tolist()),
        tuple(count[filled].tolist()),
        bins,
        binning,
    )
