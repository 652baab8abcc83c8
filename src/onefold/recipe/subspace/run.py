"""Carry out the recipe of a subspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from onefold.batches import Data
from onefold.counting import count_examples
from onefold.explore import Subspace
from onefold.explore.checkpoint import State
from onefold.explore.epochs import Epochs
from onefold.explore.subspace.initialization import other_starts
from onefold.explore.subspace.parametrize import find_parameters
from onefold.explore.subspace.shapes import Shape
from onefold.explore.subspace_training import train
from onefold.explore.training import check_fit, training_reading
from onefold.processes import check_device
from onefold.recipe.inputs import load_data
from onefold.recipe.outputs import Outcome
from onefold.recipe.run import Made, Tell, silent
from onefold.recipe.subspace.document import SubspaceRecipe
from onefold.recipe.training.inputs import shuffled
from onefold.recipe.training.run import Job, TrainingTask, TrainRunning
from onefold.result_reports.subspaces import SubspaceScored, report_subspace, score_subspace
from onefold.sources import ImageBatches, resolve_model


class SubspaceTask(TrainingTask[SubspaceRecipe, SubspaceScored]):
    """The training of a subspace, carried out; see `TrainingTask`."""

    patterns = ("vertex-*.safetensors",)

    def check(self) -> None:
        """Raises SubspaceError if the shape does not fit the number of vertices."""
        Shape.of(self.recipe.subspace.shape, self.recipe.subspace.vertices)

    def prepare(self, data: Data, evaluation: Data | None) -> tuple[Data, Data, str]:
        """Check that network and data fit; see `TrainingTask.prepare`."""
        recipe = self.recipe
        network = resolve_model(recipe.model)().to(check_device(recipe.device)).eval()
        scoring = recipe.scoring.scoring()
        self.reading = check_fit(network, data, "training data", training_reading(scoring))
        if evaluation is not None:
            check_fit(network, evaluation, "evaluation data", self.reading)
        self.space = build_space(recipe)
        return data, data, f"The data '{recipe.data.source}'"

    def begin(self, state: State) -> str:
        """The line that tells of the training that is left to do; "" if nothing is."""
        done, epochs = len(state.get("losses", [])), self.recipe.training.epochs
        if done >= epochs:
            return ""
        line = f"Training a {self.recipe.subspace.shape} for {epochs} epoch" + "s" * (epochs > 1)
        return line + f", {done} of them done" * (done > 0)

    def at_hand(self, data: Data) -> tuple[Subspace, Data]:
        """What `train` needs not read again in the process that began."""
        return self.space, data

    @staticmethod
    def train(fabric: Any, job: Job[SubspaceRecipe]) -> None:
        """The work of every process."""
        torch.set_num_threads(job.threads)
        recipe = job.recipe
        space, data = job.at_hand or (build_space(recipe), load_data(recipe.data, recipe.seed))
        source = data if isinstance(data, ImageBatches) else shuffled(recipe)
        epochs = Epochs(source, recipe.seed, recipe.training.augment)
        how = recipe.training.of(job.steps)
        train(fabric, space, epochs, how, job.before(), job.keep, job.scoring())

    def finish(
        self, state: State, data: Data, evaluation: Data | None
    ) -> Outcome[SubspaceRecipe, SubspaceScored]:
        """The networks that the last checkpoint holds, and their scores."""
        recipe, space = self.recipe, build_space(self.recipe)
        space.load_state_dict(state["space"])
        space = space.to(check_device(recipe.device)).eval()
        self.tell("Computing normalisation statistics of every vertex and the midpoint")
        vertices = range(space.shape.vertices)
        networks = {f"vertex-{k}.safetensors": space.vertex(k, data) for k in vertices}
        networks[recipe.result] = space.midpoint(data)
        scored = None
        if evaluation is not None:
            self.tell("Scoring vertices, midpoint, ensembles and the points between")
            scoring = self.reading.scoring
            found = list(networks.values())
            scored = score_subspace(space, found, data, evaluation, scoring=scoring)
        return Outcome(
            networks,
            lambda name: {
                "onefold.subspace": recipe.subspace.shape,
                "onefold.point": Path(name).stem,
            },
            scored,
            lambda written, sums: report_subspace(
                space,
                state["losses"],
                scored,
                written.origin(sums),
                examples=count_examples(data),
                processes=recipe.training.devices,
            ),
        )


def make(
    recipe: SubspaceRecipe, running: TrainRunning | None = None, tell: Tell = silent
) -> Made[SubspaceRecipe, Any, SubspaceScored]:
    """Carry out `recipe`, whose paths are absolute, and write its folder; see `TrainingTask`."""
    return SubspaceTask(recipe, running or TrainRunning(), tell).make()


def build_space(recipe: SubspaceRecipe) -> Subspace:
    """The subspace before training.

    Every vertex begins as the architecture itself does, at random anew.

    Raises:
        SubspaceError: the shape does not fit, or the architecture always begins from the same
            weights and cannot reset them.
        SettingError: a pattern matches nothing, or the network cannot be built.
    """
    factory, part = resolve_model(recipe.model), recipe.subspace
    shape = Shape.of(part.shape, part.vertices)
    options: dict[str, Any] = part.model_dump(exclude={"shape", "vertices"})
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = factory()
        refs = find_parameters(model, part.include, part.exclude)
        starts = [model, *other_starts(model, refs, factory, shape.vertices - 1)]
        return Subspace(
            model, shape.name, shape.vertices, starts=starts, seed=recipe.seed, **options
        )
