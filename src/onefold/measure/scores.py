"""Scores of logits and probabilities of classes that are at hand as tensors.

Every position that has a label counts as an example here. Networks are scored by `evaluate`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from onefold.errors import DataError, SettingError, nearest
from onefold.inference import class_axes
from onefold.tasks.base import Bins, Rows
from onefold.tasks.calibration import Binning, Reliability
from onefold.tasks.class_tally import ClassTally
from onefold.tasks.labels import check_labels, flatten, is_ignored
from onefold.tasks.scores import Scores

OutputKind = Literal["logits", "probabilities"]
OUTPUT_KINDS: tuple[OutputKind, ...] = ("logits", "probabilities")


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
    return _scored(_classes_last(logits, labels), labels, Bins(bins, binning))


def score_probabilities(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, binning: Binning = "equal-width"
) -> Scores:
    """Score probabilities (n, classes), whose rows sum to 1; otherwise as `score_logits`.

    Raises:
        DataError: as `score_logits`, or a row is negative somewhere or does not sum to 1 (rows with
            NaN count as non-finite instead).
    """
    rows = _log(_classes_last(probabilities, labels))
    return _scored(rows, labels, Bins(bins, binning))


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
    tally = ClassTally(Bins(bins, binning))
    outputs = _classes_last(outputs, labels)
    tally.add(Rows(*flatten(_log(outputs) if kind == "probabilities" else outputs, labels)))
    return tally.reliability()


def _scored(logits: Tensor, labels: Tensor, bins: Bins) -> Scores:
    """The scores of logits (..., classes), whose rows are examples."""
    tally = ClassTally(bins)
    rows, kept = flatten(logits, labels)
    ignored = labels.numel() - len(kept)
    tally.add(Rows(rows, kept, ignored=ignored))
    found = tally.counted("accuracy")
    return Scores(
        found.values,
        found.n,
        bins=bins.bins,
        binning=bins.binning,
        nonfinite=found.nonfinite,
        ignored=ignored,
        hint=found.hint,
        renumbered=found.renumbered,
        answers=found.answers,
        classes=found.classes,
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


__all__ = [
    "Scores",
    "check_labels",
    "flatten",
    "is_ignored",
    "reliability",
    "score_logits",
    "score_probabilities",
]
