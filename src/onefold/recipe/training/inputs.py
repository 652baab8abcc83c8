"""The checks of every recipe of training before anything slow begins: device, data, and fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from onefold.batches import Data, batches, check_reiterable, device_of, forward, labels_of
from onefold.errors import DataError, RecipeError
from onefold.explore.training import usable
from onefold.inference import ANY, ClassAxis, floating_outputs
from onefold.measure.scores import check_labels, flatten
from onefold.processes import check_processes
from onefold.recipe.inputs import check_device, check_labelled, check_runs, load_data
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


def check_fit(network: nn.Module, data: Data, what: str) -> None:
    """Raises DataError if the network cannot run on the data, or its outputs do not fit labels."""
    check_runs(network, data)
    classes = 0
    for batch in batches(data, device_of(network), what):
        labels = labels_of(batch, "training needs them", what)
        if batch.index == 0:
            with torch.no_grad():
                returned = forward(network, batch)
            if (count := len(floating_outputs(returned))) > 1:
                raise DataError(
                    f"The network returns {count} outputs, and training needs one; let it return"
                    " its logits alone or as `logits`."
                )
            logits = ClassAxis(ANY, "training").last(
                ANY.of(returned), labels, scored=True, where=f" of batch {batch.index}"
            )
            flatten(logits, labels)
            classes = logits.shape[-1]
        check_labels(labels, classes)


def steps_of(recipe: TrainedRecipe, data: Data) -> int:
    """The number of steps in an epoch. Raises DataError if there is none."""
    steps = sum(1 for _ in usable(batches(data), recipe.training.devices))
    if steps == 0:
        raise DataError(
            f"The data '{recipe.data.source}' has no batch that {recipe.training.devices} processes"
            " can share; give larger batches."
        )
    return steps
