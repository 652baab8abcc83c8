"""Labelled batches to choose by: given, or the last part of the calibration data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from onefold.batch_parts import parted
from onefold.batches import Data, batches
from onefold.errors import DataError
from onefold.inference import OutputChoice
from onefold.measure.evaluation import score_networks
from onefold.tasks import Scores, Scoring

SHARE = 0.2
EVERY = 5  # of the examples of a single batch one is held out


def held_out(
    data: Data | None, validation: Data | None, *, needed: bool = True
) -> tuple[Data | None, list[Any] | Data | None]:
    """The data to fold on, and the labelled batches to choose by.

    The latter are `validation`, or the last fifth of the batches of `data`, which are then not
    folded on; of a single batch every fifth example. They are None if there are no labels.

    Args:
        data: calibration batches.
        validation: labelled batches, if there are any besides.
        needed: a single labelled batch that cannot be split is an error; else it has no labels.

    Raises:
        DataError: as said.
    """
    if validation is not None:
        return data, validation
    if data is None:
        return None, None
    items = list(data)
    if any(batch.labels is None for batch in batches(items, what="calibration data")):
        return data, None
    found = last_part(items)
    if found[0] is not found[1]:
        return found
    if not needed:
        return data, None
    raise DataError(
        "Choosing by labels needs examples of its own, but the calibration data is one batch"
        " that cannot be split; pass `validation`, or smaller batches (--batch-size)."
    )


def last_part(data: Data) -> tuple[list[Any], list[Any]]:
    """The data without the last fifth of its batches, and that fifth.

    A single batch is split by its examples: every fifth one is the second part, as examples may be
    sorted. If it cannot be split, both are the same list, of this batch.
    """
    items = list(data)
    if len(items) < 2:
        halves = parted(items[0], EVERY) if items else None
        return (items, items) if halves is None else ([halves[0]], [halves[1]])
    cut = len(items) - max(1, round(SHARE * len(items)))
    return items[:cut], items[cut:]


def has_labels(data: Data | None, validation: Data | None) -> bool:
    """Whether there are labelled batches to choose by, as far as the first batch tells."""
    if validation is not None:
        return True
    first = None if data is None else next(iter(batches(data, what="calibration data")), None)
    return first is not None and first.labels is not None


def check_labels(validation: Data | None, fold: str) -> Data:
    """The batches to choose by.

    Raises:
        DataError: there are none.
    """
    if validation is None:
        raise DataError(
            f"The fold '{fold}' chooses by labels, but the data has none of use; pass `validation`"
            " with labels, or another fold."
        )
    return validation


def scored(
    models: Sequence[nn.Module],
    validation: Data,
    output: OutputChoice = None,
    scoring: Scoring | None = None,
) -> list[Scores]:
    """Every network's scores on the labelled batches, one network after the other."""
    how = scoring or Scoring()
    return [score_networks([model], validation, how, output=output).members[0] for model in models]
