"""The data that a recipe names, read and checked."""

from __future__ import annotations

from onefold.batches import Data, batches, check_reiterable
from onefold.errors import DataError
from onefold.recipe.document import DataPart
from onefold.sources import build_data


def load_data(part: DataPart, seed: int = 0) -> Data:
    """The batches that a part of a recipe names.

    Raises SettingError or DataError if they cannot be had.
    """
    return build_data(
        part.source,
        split=part.split,
        batch_size=part.batch_size,
        limit=part.samples,
        seed=seed,
        skip=part.skip,
    )


def check_labelled(
    data: Data,
    part: DataPart,
    use: str = "score with; choose other data, or leave the evaluation out",
) -> None:
    """Raises DataError unless the first batch of `data` has labels.

    Args:
        data: the batches.
        part: their source, for the message.
        use: what the labels are for, and what to do without.
    """
    if next(batches(data, what=f"data '{part.source}'")).labels is None:
        raise DataError(f"The {part.split} split of '{part.source}' has no labels to {use}.")


def labelled(part: DataPart | None, seed: int, what: str) -> Data | None:
    """The labelled data of a part, if there is one. Raises DataError if it has no labels."""
    if part is None:
        return None
    data = check_reiterable(load_data(part, seed), what)
    check_labelled(data, part)
    return data
