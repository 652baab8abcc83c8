"""The checks of every recipe of training before anything slow begins: device, data, and fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from onefold.batches import Data, check_reiterable
from onefold.errors import RecipeError
from onefold.processes import check_device, check_processes
from onefold.recipe.inputs import check_labelled, load_data
from onefold.recipe.training.document import TrainedRecipe
from onefold.sources import ImageBatches, build_data

R = TypeVar("R", bound=TrainedRecipe)


def on_a_device(recipe: R) -> R:
    """The recipe with a device that is there.

    Raises RecipeError if it is not, or if it does not go with the precision.
    """
    if recipe.device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu" and recipe.training.precision == "16-mixed":
            raise RecipeError(
                "The precision 16-mixed needs a GPU, and there is none here; take bf16-mixed or"
                " 32-true."
            )
        recipe = recipe.model_copy(update={"device": device})
    check_processes(check_device(recipe.device), recipe.training.devices)
    return recipe


def training_data(recipe: TrainedRecipe) -> Data:
    """The training data in its own order.

    Raises DataError or SettingError if it has no labels or cannot be shuffled.
    """
    data = check_reiterable(load_data(recipe.data, recipe.seed), "training data")
    check_labelled(data, recipe.data, "train with; choose other data")
    if not isinstance(data, ImageBatches):
        shuffled(recipe)(recipe.seed)
    return data


def shuffled(recipe: TrainedRecipe) -> Callable[[int], Data]:
    """Makes the training data in the order of a seed, for sources that keep no images in memory."""
    part = recipe.data
    return lambda seed: build_data(
        part.source,
        split=part.split,
        batch_size=part.batch_size,
        limit=part.samples,
        skip=part.skip,
        seed=seed,
        shuffle=True,
    )
