"""Carry out the recipe of persistent rounds.

Beside the checkpoint every round's network lies in the folder as soon as the round is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from onefold._version import __version__
from onefold.batches import Data
from onefold.counting import count_examples
from onefold.explore.checkpoint import State
from onefold.explore.epochs import Epochs
from onefold.explore.persistent.repulsion import copy_at
from onefold.explore.persistent.snapshot import Snapshot
from onefold.explore.persistent_training import RERUN, RESTART, ROUND, Rounds, runs_of, train_rounds
from onefold.explore.training import check_fit, training_reading
from onefold.processes import check_device
from onefold.recipe.inputs import load_data
from onefold.recipe.outputs import Outcome
from onefold.recipe.persist.document import PersistRecipe
from onefold.recipe.persist.networks import build_network, compared_on, divided, persistent_of
from onefold.recipe.run import Made, Tell, silent
from onefold.recipe.training.inputs import shuffled
from onefold.recipe.training.run import Job, TrainingTask, TrainRunning
from onefold.result_reports.persistent_rounds import PersistScored, report_rounds, score_rounds
from onefold.sources import ImageBatches
from onefold.sources.loader import Chained
from onefold.weights import save


class PersistTask(TrainingTask[PersistRecipe, PersistScored]):
    """The training of persistent rounds, carried out; see `TrainingTask`."""

    patterns = tuple(f"{kind}-*.safetensors" for kind in (ROUND, RESTART, RERUN))

    def prepare(self, data: Data, evaluation: Data | None) -> tuple[Data, Data, str]:
        """Check that network and data fit; see `TrainingTask.prepare`."""
        recipe = self.recipe
        trained, self.validation = divided(recipe, data)
        self.start = build_network(recipe).to(check_device(recipe.device)).eval()
        scoring = recipe.scoring.scoring()
        reading = check_fit(self.start, trained, "training data", training_reading(scoring))
        self.reading = reading
        check_fit(self.start, self.validation, "validation data", reading)
        if evaluation is not None:
            check_fit(self.start, evaluation, "evaluation data", reading)
        persistent_of(recipe, trained, reading.scoring)(self.start)
        if recipe.rounds.baselines:  # are there other initialisations? Ask before all rounds
            build_network(recipe, 1)
        read = Chained((data, self.validation) if recipe.validation else (data,))
        what = f"The training data '{recipe.data.source}', or the validation data,"
        return trained, read, what

    def begin(self, state: State) -> str:
        """The line that tells of the training that is left to do; "" if nothing is."""
        runs, done = _runs(self.recipe), len(state.get("done", {}))
        if done >= len(runs):
            return ""
        line = f"Training {len(runs)} networks for {self.recipe.training.epochs} epochs each"
        return line + f", {done} of them done" * bool(done)

    def at_hand(self, data: Data) -> tuple[Data, Data]:
        """What `train` needs not read again in the process that began."""
        return data, self.validation

    @staticmethod
    def train(fabric: Any, job: Job[PersistRecipe]) -> None:
        """The work of every process."""
        torch.set_num_threads(job.threads)
        recipe, before, scoring = job.recipe, job.before(), job.scoring()
        data, validation = job.at_hand or divided(recipe, load_data(recipe.data, recipe.seed))
        source = data if isinstance(data, ImageBatches) else shuffled(recipe)
        rounds = Rounds(
            build_network(recipe),
            persistent_of(recipe, data, scoring),
            lambda number: build_network(recipe, number),
            lambda seed: Epochs(source, seed, recipe.training.augment),
            validation,
            recipe.training.of(job.steps),
            recipe.rounds.order,
            recipe.seed,
            scoring,
        )

        def keep(state: Mapping[str, Any]) -> None:
            job.keep(state)  # first, as the networks' files can be made from it again
            if not state["losses"]:  # a run is over
                _show(job, dict(list(state["done"].items())[-1:]))

        if before is not None and fabric.is_global_zero:
            _show(job, before["done"])  # the last of them may not have been written
        train_rounds(fabric, rounds, _runs(recipe), before, keep)

    def finish(
        self, state: State, data: Data, evaluation: Data | None
    ) -> Outcome[PersistRecipe, PersistScored]:
        """The networks that the last checkpoint holds, and their scores."""
        recipe, found = self.recipe, state["done"]
        networks = {name: _network(self.start, run).eval() for name, run in found.items()}
        scoring, kind = self.reading.scoring, self.reading.kind
        reached = {name: run["score"] for name, run in found.items()}
        rounds = {name: kind.better(v) for name, v in reached.items() if name.startswith(ROUND)}
        best = max(rounds, key=rounds.__getitem__)
        more = ", and scoring them" * (evaluation is not None)
        self.tell(f"Comparing the rounds with one another{more}")
        scored = score_rounds(
            networks, reached, best, data, self.validation, evaluation, scoring=scoring
        )
        names = {file_of(name): name for name in networks} | {recipe.result: best}
        examples = {
            "training": count_examples(data),
            "validation": count_examples(self.validation),
            "reference": compared_on(recipe, data),
        }
        return Outcome(
            {file: networks[name] for file, name in names.items()},
            lambda file: {"onefold.run": names[file]},
            scored,
            lambda written, sums: report_rounds(
                scored, found, written.origin(sums), examples=examples
            ),
        )


def make(
    recipe: PersistRecipe, running: TrainRunning | None = None, tell: Tell = silent
) -> Made[PersistRecipe, Any, PersistScored]:
    """Carry out `recipe`, whose paths are absolute, and write its folder; see `TrainingTask`."""
    return PersistTask(recipe, running or TrainRunning(), tell).make()


def file_of(name: str) -> str:
    """The file of a run by its name, such as "round 0"."""
    return f"{name.replace(' ', '-')}.safetensors"


def _runs(recipe: PersistRecipe) -> Any:
    return runs_of(recipe.rounds.number, recipe.rounds.baselines)


def _network(start: nn.Module, run: Mapping[str, Any]) -> nn.Module:
    """The network at the end of a run, from the checkpoint."""
    return copy_at(start, Snapshot(run["parameters"], run["buffers"]))


def _show(job: Job[PersistRecipe], runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the networks of runs that are over into the folder."""
    start = build_network(job.recipe)
    for name, run in runs.items():
        facts = {"onefold.version": __version__, "onefold.run": name}
        save(_network(start, run), job.folder / file_of(name), metadata=facts, force=True)
