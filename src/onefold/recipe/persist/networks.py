"""The networks, data and penalty of persistent rounds, as a recipe names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from onefold.batches import Data, batches, dtype_of
from onefold.errors import DataError
from onefold.explore import PersistentTraining
from onefold.explore.initial_networks import initial_network
from onefold.explore.persistent.functional import reference_inputs
from onefold.explore.training import steps_of
from onefold.recipe.inputs import labelled
from onefold.recipe.persist.document import PersistRecipe
from onefold.sources import ImageBatches, resolve_model
from onefold.sources.loader import hold_out
from onefold.tasks import Scoring

PREDICTIONS = "function"


def build_network(recipe: PersistRecipe, number: int = 0) -> nn.Module:
    """The architecture's network number `number`: each begins from another initialisation.

    Raises:
        SettingError: it cannot be built, or always begins from the same weights.
    """
    return initial_network(
        resolve_model(recipe.model), recipe.seed, number, f"The architecture '{recipe.model}'"
    )


def persistent_of(
    recipe: PersistRecipe, data: Data, scoring: Scoring
) -> Callable[[nn.Module], PersistentTraining]:
    """Makes the PersistentTraining of a network; `scoring` names the task.

    Raises PersistentError or SettingError, when called, if an option does not fit.
    """
    part = recipe.rounds
    scope = part.scope or ("all",)
    options: dict[str, Any] = part.arguments() | {
        "scope": scope[0] if len(scope) == 1 else list(scope),
        "precision": part.solutions,
        "seed": recipe.seed,
        "task": scoring.task,
    }
    training, source = recipe.training, recipe.data.source
    total = training.epochs * steps_of(data, training.devices, source)

    def made(network: nn.Module) -> PersistentTraining:
        if part.kernel != PREDICTIONS:
            return PersistentTraining(network, total, **options)
        compared = reference_inputs(data, part.reference, dtype_of(network))
        return PersistentTraining(network, total, reference=compared, **options)

    return made


def compared_on(recipe: PersistRecipe, data: Data) -> int:
    """How many examples predictions are compared on; 0 but for the kernel of predictions."""
    if recipe.rounds.kernel != PREDICTIONS:
        return 0
    return min(recipe.rounds.reference, next(iter(batches(data, what="training data"))).size)


def divided(recipe: PersistRecipe, data: Data) -> tuple[Data, Data]:
    """The data that is trained on, and that which decides which round is best.

    Raises DataError if the data cannot be divided.
    """
    given = labelled(recipe.validation, recipe.seed, "validation data")
    if given is not None:
        return data, given
    if not isinstance(data, ImageBatches):
        raise DataError(
            f"A part of '{recipe.data.source}' cannot be held out, as its batches are fixed; name"
            " validation data with --val-data."
        )
    return hold_out(data, recipe.held_out, recipe.seed)
