"""Carry out the recipe of persistent rounds: check everything, train, keep what was reached, and
write the networks with their recipe and report.

The networks are made from what was kept after the last epoch, in a run that was never broken off as
in one that was, so that both end in the same bits. Beside that, every round's network lies in the
folder as soon as the round is over.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from onefold._version import __version__
from onefold.batches import Data, batches, dtype_of
from onefold.counting import count_examples
from onefold.errors import DataError, RecipeError
from onefold.explore import PersistentTraining
from onefold.explore.epochs import Epochs
from onefold.explore.persistent.repulsion import copy_at
from onefold.explore.persistent.snapshot import Snapshot
from onefold.explore.persistent_training import RERUN, RESTART, ROUND, Rounds, runs_of, train_rounds
from onefold.explore.training import Training
from onefold.processes import launch
from onefold.recipe.document import Record
from onefold.recipe.environment import settings
from onefold.recipe.inputs import check_device, load_data
from onefold.recipe.persist.document import PersistRecipe
from onefold.recipe.persist.report import PersistScored, score, summarise
from onefold.recipe.training.checkpoint import keep, kept
from onefold.recipe.training.folder import open_folder, write
from onefold.recipe.training.inputs import check_fit, labelled, shuffled, steps_of, training_data
from onefold.recipe.training.run import Trained, begin
from onefold.sources import ImageBatches, resolve_model
from onefold.sources.loader import Images
from onefold.weights import save

PREDICTIONS = "function"
FILES = [f"{kind}-*.safetensors" for kind in (ROUND, RESTART, RERUN)]


def make(
    recipe: PersistRecipe,
    *,
    force: bool = False,
    resume: bool = False,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Trained[PersistRecipe, PersistScored]:
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
    begun = begin(recipe, force, resume, recipe.validation)
    recipe, folder = begun.recipe, begun.folder
    if begun.report is not None:
        return Trained(recipe, begun.report, folder, finished_before=True)
    with settings(recipe, begun.threads(threads)) as used:
        tell(f"Reading {recipe.data.source}")
        whole, evaluation = (
            training_data(recipe),
            labelled(recipe.evaluation, recipe.seed, "evaluation data"),
        )
        data, validation = divided(recipe, whole)
        network = build_network(recipe).to(check_device(recipe.device)).eval()
        for part, what in (
            (data, "training data"),
            (validation, "validation data"),
            (evaluation, "evaluation data"),
        ):
            if part is not None:
                check_fit(network, part, what)
        persistent_of(recipe, data)(network)
        if recipe.rounds.baselines:
            build_network(
                recipe, 1
            )  # learn now, and not after all rounds, whether there are other initialisations
        steps = steps_of(recipe, data)
        read = _Chained((whole, validation) if recipe.validation else (whole,))
        now, warnings = begun.made_with(
            used, read, f"The training data '{recipe.data.source}', or the validation data,"
        )

        open_folder(folder, FILES)
        runs = runs_of(recipe.rounds.number, recipe.rounds.baselines)
        done = begun.state.get("done", {})
        if len(done) < len(runs):
            tell(
                f"Training {len(runs)} networks for {recipe.training.epochs} epochs each"
                + f", {len(done)} of them done" * bool(done)
            )
            here = (data, validation) if recipe.training.devices == 1 else None
            job = (
                recipe,
                folder,
                now,
                steps,
                begun.before is not None,
                max(1, used // recipe.training.devices),
                here,
            )
            launch(
                _train,
                job,
                check_device(recipe.device),
                recipe.training.devices,
                recipe.training.precision,
            )
        found: dict[str, dict[str, Any]] = begun.reached()["done"]
        networks = {
            name: copy_at(network, Snapshot(one["parameters"], one["buffers"])).eval()
            for name, one in found.items()
        }
        rounds = {name: one["score"] for name, one in found.items() if name.startswith(ROUND)}
        best = max(rounds, key=rounds.__getitem__)
        tell(
            "Comparing the rounds with one another"
            + ", and scoring them" * (evaluation is not None)
        )
        scored = score(
            networks,
            {name: one["score"] for name, one in found.items()},
            best,
            data,
            validation,
            evaluation,
        )
        files = {file_of(name): own for name, own in networks.items()} | {
            recipe.main: networks[best]
        }
        facts = {file: {"onefold.run": Path(file).stem.replace("-", " ")} for file in files} | {
            recipe.main: {"onefold.run": best}
        }
        examples = {
            "training": count_examples(data),
            "validation": count_examples(validation),
            "reference": compared_on(recipe, data),
        }
        complete, report, more = write(
            folder,
            recipe,
            now,
            files,
            facts.__getitem__,
            lambda done, sums: summarise(done, scored, found, sums, examples),
            FILES,
        )
    return Trained(complete, report, folder, scored, warnings + more)


@dataclass(frozen=True)
class _Chained:
    """The batches of several data, one after the other."""

    data: tuple[Data, ...]

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.data)


def file_of(name: str) -> str:
    """The file of a run by its name, such as "round 0"."""
    return f"{name.replace(' ', '-')}.safetensors"


def build_network(recipe: PersistRecipe, number: int = 0) -> nn.Module:
    """The architecture's network number `number`: each begins from another initialisation.

    Raises:
        RecipeError: the network cannot be built, or always begins from the same weights.
    """
    factory = resolve_model(recipe.model)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = factory()
        if number:
            first = dict(network.named_parameters())
            torch.manual_seed(recipe.seed + 1_000_003 * number)
            network = factory()
            if all(torch.equal(own, first[name]) for name, own in network.named_parameters()):
                raise RecipeError(
                    f"The architecture '{recipe.model}' always begins from the same weights, so"
                    " there is nothing to restart from."
                )
    return network


def persistent_of(recipe: PersistRecipe, data: Data) -> Callable[[nn.Module], PersistentTraining]:
    """Makes the PersistentTraining of a network.

    Raises PersistentError or RecipeError, when called, where an option does not fit.
    """
    part = recipe.rounds
    options: dict[str, Any] = part.model_dump(
        include={"exclude", "kernel", "strength", "width", "anneal", "memory", "control", "mirror"}
    )
    scope = part.scope or ("all",)
    options |= {
        "scope": scope[0] if len(scope) == 1 else list(scope),
        "precision": part.solutions,
        "seed": recipe.seed,
    }
    total = recipe.training.epochs * steps_of(recipe, data)

    def made(network: nn.Module) -> PersistentTraining:
        compared = (
            {"reference": reference(data, part.reference, dtype_of(network))}
            if part.kernel == PREDICTIONS
            else {}
        )
        return PersistentTraining(network, total, **options, **compared)

    return made


def reference(data: Data, count: int, dtype: torch.dtype) -> Any:
    """The inputs of the first `count` training examples, of one batch at most, as a batch without
    labels; numbers in the network's precision.
    """
    first = next(iter(batches(data, what="training data")))

    def take(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        value = value.to(dtype) if value.is_floating_point() else value
        return value[:count] if value.dim() and len(value) == first.size else value

    args, kwargs = (
        tuple(map(take, first.args)),
        {name: take(value) for name, value in first.kwargs.items()},
    )
    return kwargs if kwargs else args[0] if len(args) == 1 else args


def compared_on(recipe: PersistRecipe, data: Data) -> int:
    """How many examples predictions are compared on: 0 but for the kernel of predictions, at most a
    batch for it.
    """
    if recipe.rounds.kernel != PREDICTIONS:
        return 0
    return min(recipe.rounds.reference, next(iter(batches(data, what="training data"))).size)


def divided(recipe: PersistRecipe, data: Data) -> tuple[Data, Data]:
    """What is trained on, and what decides which round is best.

    Raises DataError where the data cannot be divided.
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
        return ImageBatches(
            Images(
                images.inputs[index], images.labels[index], images.classes, images.mean, images.std
            ),
            data.batch_size,
        )

    return some(order[count:].sort().values), some(order[:count].sort().values)


def _train(
    fabric: Any,
    recipe: PersistRecipe,
    folder: Path,
    now: Record,
    steps: int,
    resumed: bool,
    threads: int,
    here: tuple[Data, Data] | None,
) -> None:
    """What every process does. here: training and validation data where they are at hand."""
    torch.set_num_threads(threads)
    data, validation = here or divided(recipe, load_data(recipe.data, recipe.seed))
    part = recipe.training
    source = data if isinstance(data, ImageBatches) else shuffled(recipe)
    rounds = Rounds(
        build_network(recipe),
        persistent_of(recipe, data),
        lambda number: build_network(recipe, number),
        lambda seed: Epochs(source, seed, part.augment),
        validation,
        Training(part.epochs, steps, part.lr, part.momentum, part.weight_decay, part.warm_up),
        recipe.rounds.order,
        recipe.seed,
    )
    before = kept(folder, recipe.command) if resumed else None

    def show(done: Mapping[str, Mapping[str, Any]]) -> None:
        network = build_network(recipe)
        for name, one in done.items():
            own = copy_at(network, Snapshot(one["parameters"], one["buffers"]))
            save(
                own,
                folder / file_of(name),
                metadata={"onefold.version": __version__, "onefold.run": name},
                force=True,
            )

    def save_state(state: Mapping[str, Any]) -> None:
        keep(
            folder, recipe, now, state
        )  # first: the files can be made from it again, but a folder with files and no state is nobody's
        if not state["losses"]:  # a run is over
            show(dict(list(state["done"].items())[-1:]))

    if before is not None and fabric.is_global_zero:
        show(before[2]["done"])  # the last of them may not have come that far
    train_rounds(
        fabric,
        rounds,
        runs_of(recipe.rounds.number, recipe.rounds.baselines),
        before[2] if before else None,
        save_state,
    )
