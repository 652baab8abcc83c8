"""Carry out the recipe of a subspace: check everything, train, keep what was reached, and write the networks with their recipe and report.

The networks are made from what was kept after the last epoch, in a run that was never broken off as in one that was, so that both end in the
same bits. The kept file goes last: as long as it is there, the run is not finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onefold.batches import Data
from onefold.errors import OutputError, RecipeError
from onefold.explore import Subspace
from onefold.explore.epochs import Epochs
from onefold.explore.processes import fabric_package, launch
from onefold.explore.subspace.places import parameters_at, places_of
from onefold.explore.subspace.shapes import Shape
from onefold.explore.subspace_training import train
from onefold.explore.training import Training
from onefold.measure import Report
from onefold.recipe.document import Record
from onefold.recipe.inputs import check_device, load_data
from onefold.recipe.run import check_batches, other_versions, record, settings
from onefold.recipe.subspace import SubspaceRecipe
from onefold.recipe.subspace_summary import SubspaceScored, score, summarise
from onefold.recipe.training_checkpoint import NAME, check_same, keep, kept
from onefold.recipe.training_folder import RECIPE, check_folder, open_folder, write
from onefold.recipe.training_inputs import check_fit, check_names, finished, labelled, on_a_device, shuffled, steps_of, training_data
from onefold.sources import ImageBatches, resolve_model


@dataclass(frozen=True)
class SubspaceMade:
    """What came of a recipe: the recipe as it was written, its scores (None: not scored), the report, the folder, what the user should know."""

    recipe: SubspaceRecipe
    report: Report
    folder: Path
    scored: SubspaceScored | None = None
    warnings: list[str] = field(default_factory=list)
    finished_before: bool = False


def make(
    recipe: SubspaceRecipe, *, force: bool = False, resume: bool = False, threads: int | None = None, tell: Callable[[str], None] = lambda text: None
) -> SubspaceMade:
    """Carry out `recipe`, whose paths are absolute, and write its outputs into the folder `recipe.output`.

    Args:
        force: begin anew where the folder holds something.
        resume: go on from the last epoch kept there; begin where there is none.
        threads: CPU threads of all processes together; None: as recorded or kept, or as many as torch likes.
        tell: is called with one line on what goes on.

    Raises:
        OnefoldError: of every kind, one sentence each; what was kept of the run stays.
    """
    fabric_package()
    recipe = on_a_device(recipe)
    folder = check_folder(recipe, force, resume)
    Shape.of(recipe.subspace.shape, recipe.subspace.vertices)
    check_names(recipe)
    before = kept(folder, recipe.command) if resume else None
    if before is not None:
        check_same(recipe, before[0], folder)
    elif resume and (folder / RECIPE).exists():
        return SubspaceMade(*finished(recipe, folder), folder, finished_before=True)
    recorded = before[1] if before is not None else recipe.record
    with settings(recipe, threads or (recorded.threads if recorded else None)) as used:
        tell(f"Reading {recipe.data.source}")
        data, evaluation = training_data(recipe), labelled(recipe.evaluation, recipe.seed, "evaluation data")
        network = resolve_model(recipe.model)().to(check_device(recipe.device)).eval()
        check_fit(network, data, "training data")
        if evaluation is not None:
            check_fit(network, evaluation, "evaluation data")
        space, steps = build_space(recipe), steps_of(recipe, data)
        now = record(used, check_batches(recipe, data, labels=True))
        if before is not None and now.data_sha256 != before[1].data_sha256:
            raise RecipeError(f"The data '{recipe.data.source}' has changed since the run in {folder} began; get the old data, or give --force.")
        warnings = other_versions(recorded, used) if recorded is not None else []

        open_folder(folder)
        part = recipe.training
        done = len(before[2]["losses"]) if before is not None else 0
        if done < part.epochs:
            tell(f"Training a {recipe.subspace.shape} for {part.epochs} epoch" + "s" * (part.epochs > 1) + f", {done} of them done" * (done > 0))
            here = (space, data) if part.devices == 1 else None
            job = (recipe, folder, now, steps, done > 0, max(1, used // part.devices), here)
            launch(_train, job, check_device(recipe.device), part.devices, part.precision)
        reached = kept(folder, recipe.command)
        if reached is None:
            raise OutputError(f"{folder / NAME} is gone, though the training has just written it; leave the folder alone, and run again.")
        space = build_space(recipe)
        space.load_state_dict(reached[2]["space"])
        space = space.to(check_device(recipe.device)).eval()
        tell("Computing normalisation statistics of every vertex and the midpoint")
        networks = {f"vertex-{k}.safetensors": space.vertex(k, data) for k in range(space.shape.vertices)} | {recipe.main: space.midpoint(data)}
        scored = None
        if evaluation is not None:
            tell("Scoring vertices, midpoint, ensembles and the points between")
            scored = score(space, list(networks.values()), data, evaluation)
        complete, report, more = write(
            folder, recipe, now, networks, lambda name: {"onefold.subspace": recipe.subspace.shape, "onefold.point": Path(name).stem},
            lambda done, sums: summarise(done, space, reached[2]["losses"], sums, scored), ["vertex-*.safetensors"],
        )  # fmt: skip
    return SubspaceMade(complete, report, folder, scored, warnings + more)


def build_space(recipe: SubspaceRecipe) -> Subspace:
    """The subspace before training. Every vertex begins as the architecture itself does, at random anew.

    Raises:
        SubspaceError: the shape does not fit, or the architecture always begins from the same weights and cannot reset them.
        RecipeError: a pattern matches nothing, or the network cannot be built.
    """
    factory, part = resolve_model(recipe.model), recipe.subspace
    shape = Shape.of(part.shape, part.vertices)
    options: dict[str, Any] = part.model_dump(exclude={"shape", "vertices"})
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = factory()
        places = places_of(model, part.include, part.exclude)
        others = (factory() for _ in range(shape.vertices - 1))
        starts = [None if _alike(parameters_at(model, places), parameters_at(other, places)) else other for other in others]
        return Subspace(model, shape.name, shape.vertices, starts=[model, *starts], seed=recipe.seed, **options)


def _alike(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether a weight that is not filled with one value, as zeros are, is the same in both, as in pretrained networks."""
    return any(a.dim() > 1 and torch.equal(a, b) and bool((a != a.flatten()[0]).any()) for a, b in zip(first, second, strict=True))


def _train(
    fabric: Any, recipe: SubspaceRecipe, folder: Path, now: Record, steps: int, resumed: bool, threads: int, here: tuple[Subspace, Data] | None
) -> None:
    """What every process does. here: subspace and data where they are at hand."""
    torch.set_num_threads(threads)
    space, data = here or (build_space(recipe), load_data(recipe.data, recipe.seed))
    part = recipe.training
    epochs = Epochs(data if isinstance(data, ImageBatches) else shuffled(recipe), recipe.seed, part.augment)
    training = Training(part.epochs, steps, part.learning_rate, part.momentum, part.weight_decay, part.warm_up)
    before = kept(folder, recipe.command) if resumed else None
    train(fabric, space, epochs, training, before[2] if before else None, lambda state: keep(folder, recipe, now, state))
