"""Carry out the recipe of a subspace: check everything, train, keep what was reached, and write the
networks with their recipe and report.

The networks are made from what was kept after the last epoch, in a run that was never broken off as
in one that was, so that both end in the same bits. The kept file goes last: as long as it is there,
the run is not finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onefold.batches import Data
from onefold.counting import count_examples
from onefold.explore import Subspace
from onefold.explore.epochs import Epochs
from onefold.explore.subspace.parametrize import find_parameters, parameters_of
from onefold.explore.subspace.shapes import Shape
from onefold.explore.subspace_training import train
from onefold.explore.training import Training
from onefold.processes import launch
from onefold.recipe.document import Record
from onefold.recipe.environment import settings
from onefold.recipe.inputs import check_device, load_data
from onefold.recipe.subspace.document import SubspaceRecipe
from onefold.recipe.subspace.report import SubspaceScored, score, summarise
from onefold.recipe.training.checkpoint import keep, kept
from onefold.recipe.training.folder import open_folder, write
from onefold.recipe.training.inputs import check_fit, labelled, shuffled, steps_of, training_data
from onefold.recipe.training.run import Trained, begin
from onefold.sources import ImageBatches, resolve_model


def make(
    recipe: SubspaceRecipe,
    *,
    force: bool = False,
    resume: bool = False,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Trained[SubspaceRecipe, SubspaceScored]:
    """Carry out `recipe`, whose paths are absolute, and write its outputs into the folder
    `recipe.output`.

    Args:
        force: begin anew where the folder holds something.
        resume: go on from the last epoch kept there; begin where there is none.
        threads: CPU threads of all processes together; None: as recorded or kept, or as many as
            torch likes.
        tell: is called with one line on what goes on.

    Raises:
        OnefoldError: of every kind, one sentence each; what was kept of the run stays.
    """
    Shape.of(recipe.subspace.shape, recipe.subspace.vertices)
    begun = begin(recipe, force, resume)
    recipe, folder = begun.recipe, begun.folder
    if begun.report is not None:
        return Trained(recipe, begun.report, folder, finished_before=True)
    with settings(recipe, begun.threads(threads)) as used:
        tell(f"Reading {recipe.data.source}")
        data, evaluation = (
            training_data(recipe),
            labelled(recipe.evaluation, recipe.seed, "evaluation data"),
        )
        network = resolve_model(recipe.model)().to(check_device(recipe.device)).eval()
        check_fit(network, data, "training data")
        if evaluation is not None:
            check_fit(network, evaluation, "evaluation data")
        space, steps = build_space(recipe), steps_of(recipe, data)
        now, warnings = begun.made_with(used, data, f"The data '{recipe.data.source}'")

        open_folder(folder)
        part = recipe.training
        done = len(begun.state.get("losses", []))
        if done < part.epochs:
            tell(
                f"Training a {recipe.subspace.shape} for {part.epochs} epoch"
                + "s" * (part.epochs > 1)
                + f", {done} of them done" * (done > 0)
            )
            here = (space, data) if part.devices == 1 else None
            job = (recipe, folder, now, steps, done > 0, max(1, used // part.devices), here)
            launch(_train, job, check_device(recipe.device), part.devices, part.precision)
        reached = begun.reached()
        space = build_space(recipe)
        space.load_state_dict(reached["space"])
        space = space.to(check_device(recipe.device)).eval()
        tell("Computing normalisation statistics of every vertex and the midpoint")
        networks = {
            f"vertex-{k}.safetensors": space.vertex(k, data) for k in range(space.shape.vertices)
        } | {recipe.main: space.midpoint(data)}
        scored = None
        if evaluation is not None:
            tell("Scoring vertices, midpoint, ensembles and the points between")
            scored = score(space, list(networks.values()), data, evaluation)
        complete, report, more = write(
            folder,
            recipe,
            now,
            networks,
            lambda name: {
                "onefold.subspace": recipe.subspace.shape,
                "onefold.point": Path(name).stem,
            },
            lambda done, sums: summarise(
                done, space, reached["losses"], sums, scored, count_examples(data)
            ),
            ["vertex-*.safetensors"],
        )
    return Trained(complete, report, folder, scored, warnings + more)


def build_space(recipe: SubspaceRecipe) -> Subspace:
    """The subspace before training.

    Every vertex begins as the architecture itself does, at random anew.

    Raises:
        SubspaceError: the shape does not fit, or the architecture always begins from the same
            weights and cannot reset them.
        RecipeError: a pattern matches nothing, or the network cannot be built.
    """
    factory, part = resolve_model(recipe.model), recipe.subspace
    shape = Shape.of(part.shape, part.vertices)
    options: dict[str, Any] = part.model_dump(exclude={"shape", "vertices"})
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = factory()
        refs = find_parameters(model, part.include, part.exclude)
        others = (factory() for _ in range(shape.vertices - 1))
        starts = [
            None if _alike(parameters_of(model, refs), parameters_of(other, refs)) else other
            for other in others
        ]
        return Subspace(
            model, shape.name, shape.vertices, starts=[model, *starts], seed=recipe.seed, **options
        )


def _alike(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether a weight that is not filled with one value, as zeros are, is the same in both, as in
    pretrained networks.
    """
    return any(
        a.dim() > 1 and torch.equal(a, b) and bool((a != a.flatten()[0]).any())
        for a, b in zip(first, second, strict=True)
    )


def _train(
    fabric: Any,
    recipe: SubspaceRecipe,
    folder: Path,
    now: Record,
    steps: int,
    resumed: bool,
    threads: int,
    here: tuple[Subspace, Data] | None,
) -> None:
    """What every process does. here: subspace and data where they are at hand."""
    torch.set_num_threads(threads)
    space, data = here or (build_space(recipe), load_data(recipe.data, recipe.seed))
    part = recipe.training
    epochs = Epochs(
        data if isinstance(data, ImageBatches) else shuffled(recipe), recipe.seed, part.augment
    )
    training = Training(part.epochs, steps, part.lr, part.momentum, part.weight_decay, part.warm_up)
    before = kept(folder, recipe.command) if resumed else None
    train(
        fabric,
        space,
        epochs,
        training,
        before[2] if before else None,
        lambda state: keep(folder, recipe, now, state),
    )
