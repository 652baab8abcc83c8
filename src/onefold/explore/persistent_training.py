"""Train persistent rounds, and the networks they are compared with, by stochastic gradient descent.

    round        from theta_0, loss = that of the task + the repulsion from the rounds before
                 (persistent/persistent.py)
    restart k    from another initialisation, the task's loss alone: what an independent seed gives
                 for the same budget
    rerun k      from theta_0, the task's loss alone, in another order of the data

All take as many steps, and the first round is also the first restart and the first rerun. Training
runs on any device, in one process or several. The runs come one after the other, and the state is
handed over after every epoch: a run that was broken off continues to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from onefold.batches import Data, dtype_of
from onefold.errors import PersistentError
from onefold.explore.epochs import Epochs
from onefold.explore.persistent import PersistentTraining
from onefold.explore.persistent.repulsion import copy_at
from onefold.explore.persistent.snapshot import Snapshot
from onefold.explore.training import EpochLoss, Training, all_epochs, train_epoch, training_reading
from onefold.generators import generators_kept
from onefold.measure.evaluation import score_networks
from onefold.tasks import Scoring

ROUND, RESTART, RERUN = "round", "restart", "rerun"
State = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One network to train.

    Attributes:
        kind: "round", "restart" or "rerun".
        number: among its kind, from 0.
    """

    kind: str
    number: int

    @property
    def name(self) -> str:
        """The name in titles and states, such as "round 0"."""
        return f"{self.kind} {self.number}"


def runs_of(rounds: int, baselines: bool) -> list[Run]:
    """All runs, in the order in which they are trained."""
    others = (
        [Run(kind, number) for kind in (RESTART, RERUN) for number in range(1, rounds)]
        if baselines
        else []
    )
    return [Run(ROUND, number) for number in range(rounds)] + others


@dataclass(frozen=True, eq=False)
class Rounds:
    """The networks to train, and the data.

    Attributes:
        network: as it is at the start.
        persistent: makes the PersistentTraining of a network.
        fresh: another initialisation, from its number; for 0 that of the network itself.
        epochs: the batches, from the seed of their order.
        validation: batches with labels, which decide which round is best.
        training: steps and learning rate.
        order: whether rounds see the data in the "same" order or a "new" one.
        seed: of the orders.
        scoring: the task whose loss is minimised, and the score that decides which round is best.
    """

    network: nn.Module
    persistent: Callable[[nn.Module], PersistentTraining]
    fresh: Callable[[int], nn.Module]
    epochs: Callable[[int], Epochs]
    validation: Data
    training: Training
    order: str
    seed: int
    scoring: Scoring = field(default_factory=Scoring)

    def order_seed(self, run: Run) -> int:
        """The seed of a run's order of the data."""
        another = run.kind != ROUND or self.order == "new"
        return (
            int(np.random.SeedSequence([self.seed, run.number]).generate_state(1)[0])
            if another and run.number
            else self.seed
        )


def train_rounds(
    fabric: Any,
    rounds: Rounds,
    runs: list[Run],
    before: Mapping[str, Any] | None,
    keep: Callable[[State], None],
) -> None:
    """Train all of `runs`.

    Args:
        fabric: a launched lightning_fabric.Fabric, which knows device, precision and the other
            processes.
        rounds: the networks and the data.
        runs: in order, as `runs_of` gives them.
        before: the last state that `keep` was given by a run that was broken off; None begins.
        keep: is given, in the first process and after every epoch, the state on which all further
            epochs depend: plain containers, numbers, tensors. "done" holds, by name of a run,
            tensors "parameters" and "buffers", its "score" (that decides, on the validation data)
            and "losses".

    Raises:
        PersistentError: the loss is not finite.
        DataError: the network cannot run on a batch, or its outputs do not fit the labels.
    """
    network, training = rounds.network, rounds.training
    inputs = dtype_of(network)
    optimiser = training.optimizer(network.parameters())
    module, wrapped = fabric.setup(network, optimiser)
    start = Snapshot.of(network)
    persistent = rounds.persistent(network)
    done: dict[str, dict[str, Any]] = {}
    losses: list[float] = []
    reading = training_reading(rounds.scoring)
    if before is not None:
        network.load_state_dict(before["network"])
        persistent.load_state_dict(before["persistent"])
        optimiser.load_state_dict(before["optimiser"])
        fabric.strategy.precision.load_state_dict(before["precision"])
        done, losses = dict(before["done"]), list(before["losses"])

    def state() -> State:
        return {
            "network": network.state_dict(),
            "persistent": persistent.state_dict(),
            "optimiser": optimiser.state_dict(),
            "precision": fabric.strategy.precision.state_dict(),
            "done": dict(done),
            "losses": list(losses),
        }

    left = len(runs[len(done) :]) * training.epochs - len(losses)
    with generators_kept(), all_epochs(fabric, left) as shown:
        for run in runs[len(done) :]:
            repelled = persistent if run.kind == ROUND else None
            if not losses:
                _begin(network, run, start, rounds)
                optimiser.state.clear()  # every run has an optimiser as good as new
            epochs = rounds.epochs(rounds.order_seed(run))
            for number in range(len(losses), training.epochs):
                network.train()
                title = f"{run.name.capitalize()}, epoch {number + 1} of {training.epochs}"
                hooks: dict[str, Any] = {}
                if repelled is not None:
                    hooks = {"penalty": repelled.penalty, "stepped": repelled.step}
                found = train_epoch(
                    fabric,
                    module,
                    wrapped,
                    epochs,
                    number,
                    training,
                    inputs,
                    title,
                    reading,
                    **hooks,
                )
                losses.append(_finite(found, title))
                shown.step(f"loss {found.mean:.3f}")
                if number + 1 < training.epochs:
                    _keep(fabric, keep, state)
            # The network as it is written to a file, whatever the precision of training and of the
            # recorded solutions.
            plain = copy_at(rounds.fresh(0).to(fabric.device), Snapshot.of(network))
            score, rank = _score(plain, rounds) if fabric.is_global_zero else (0.0, 0.0)
            done[run.name] = {"score": score, "losses": losses, **_tensors(plain)}
            if repelled is not None:
                repelled.record(rank)
                repelled.restart()
            losses = []
            _keep(fabric, keep, state)


def _score(network: nn.Module, rounds: Rounds) -> tuple[float, float]:
    """The score that decides on the validation data, and the same so that more is better."""
    found = score_networks([network], rounds.validation, rounds.scoring).members[0]
    return found.primary, found.kind.better(found.primary)


def _finite(found: EpochLoss, title: str) -> float:
    if not math.isfinite(found.mean):
        raise PersistentError(
            f"The loss is not finite ({title}{found.broken}); lower the learning rate or the"
            " strength, or lengthen the warm-up."
        )
    return found.mean


def _begin(network: nn.Module, run: Run, start: Snapshot, rounds: Rounds) -> None:
    """Write the run's initialisation into the network."""
    if run.kind == RESTART:
        fresh = Snapshot.of(rounds.fresh(run.number))
        start = Snapshot(
            _in_dtypes_of(start.parameters, fresh.parameters),
            _in_dtypes_of(start.buffers, fresh.buffers),
        )
    start.put_into(network)


def _in_dtypes_of(like: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(like[name].dtype) for name, tensor in tensors.items()}


def _tensors(network: nn.Module) -> dict[str, dict[str, Tensor]]:
    now = Snapshot.of(network)
    return {"parameters": now.parameters, "buffers": now.buffers}


def _keep(fabric: Any, keep: Callable[[State], None], state: Callable[[], State]) -> None:
    if fabric.is_global_zero:
        keep(state())
    fabric.barrier()
