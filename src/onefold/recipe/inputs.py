"""The files and data that a recipe names, read and checked."""

from __future__ import annotations

from onefold.batches import Data, batches, check_reiterable
from onefold.documents.part import InputFile
from onefold.errors import DataError, RecipeError
from onefold.recipe.document import DataPart
from onefold.sources import build_data
from onefold.weights import checksum


def verify(file: InputFile) -> str:
    """The SHA-256 of a file.

    Raises:
        RecipeError: the recipe records another one. WeightsError: the file cannot be read.
    """
    found = checksum(file.path)
    if file.sha256 is not None and found != file.sha256:
        raise RecipeError(
            f"{file.path} is not the file that the recipe was made with: its SHA-256 begins"
            f" {found[:12]}, the recipe says {file.sha256[:12]}; get the original file, or delete"
            " the key 'sha256' to use this one."
        )
    return found


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
