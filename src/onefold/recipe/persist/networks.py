"""The networks, data and penalty of persistent rounds, as a recipe names them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from onefold.batches import Data, batches, dtype_of
from onefold.errors import DataError, RecipeError
from onefold.explore import PersistentTraining
from onefold.recipe.inputs import labelled
from onefold.recipe.persist.document import PersistRecipe
from onefold.recipe.training.inputs import steps_of
from onefold.sources import ImageBatches, resolve_model
from onefold.sources.loader import Images

PREDICTIONS = "function"


@dataclass(frozen=True)
class Chained:
    """The batches of several data, one after the other."""

    data: tuple[Data, ...]

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.data)


def build_network(recipe: PersistRecipe, number: int = 0) -> nn.Module:
    """The architecture's network number `number`: each begins from another initialisation.

    Raises:
        RecipeError: the network always begins from the same weights.
        SettingError: it cannot be built.
    """
    factory = resolve_model(recipe.model)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = factory()
        if number:
            first = dict(network.named_parameters())
            torch.manual_seed(recipe.seed + 1_000_003 * number)
            network = factory()
            if all(torch.equal(value, first[name]) for name, value in network.named_parameters()):
                raise RecipeError(
                    f"The architecture '{recipe.model}' always begins from the same weights, so"
                    " there is nothing to restart from."
                )
    return network


def persistent_of(recipe: PersistRecipe, data: Data) -> Callable[[nn.Module], PersistentTraining]:
    """Makes the PersistentTraining of a network.

    Raises PersistentError or SettingError, when called, if an option does not fit.
    """
    part = recipe.rounds
    scope = part.scope or ("all",)
    options: dict[str, Any] = part.arguments() | {
        "scope": scope[0] if len(scope) == 1 else list(scope),
        "precision": part.solutions,
        "seed": recipe.seed,
    }
    total = recipe.training.epochs * steps_of(recipe, data)

    def made(network: nn.Module) -> PersistentTraining:
        if part.kernel != PREDICTIONS:
            return PersistentTraining(network, total, **options)
        compared = reference(data, part.reference, dtype_of(network))
        return PersistentTraining(network, total, reference=compared, **options)

    return made


def reference(data: Data, count: int, dtype: torch.dtype) -> Any:
    """The inputs of the first `count` training examples, of one batch at most, without labels.

    Floating-point numbers are in the network's precision.
    """
    first = next(iter(batches(data, what="training data")))

    def take(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        value = value.to(dtype) if value.is_floating_point() else value
        return value[:count] if value.dim() and len(value) == first.size else value

    args = tuple(map(take, first.args))
    kwargs = {name: take(value) for name, value in first.kwargs.items()}
    return kwargs if kwargs else args[0] if len(args) == 1 else args


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
            f"A part of '{recipe.data.source}' cannot be held out, as it is no set of images; name"
            " validation data with --val-data."
        )
    images = data.images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(recipe.seed))
    count = round(recipe.held_out * len(images))
    if not 0 < count < len(images):
        raise DataError(
            f"{len(images)} training examples are too few to hold out {recipe.held_out:g} of them;"
            " give more examples."
        )

    def some(index: torch.Tensor) -> ImageBatches:
        inputs, labels = images.inputs[index], images.labels[index]
        chosen = Images(inputs, labels, images.classes, images.mean, images.std)
        return ImageBatches(chosen, data.batch_size)

    return some(order[count:].sort().values), some(order[:count].sort().values)
