"""Persistent training: train again from the same start, repelled from the solutions of before.

    minimise   L(theta) + (strength s(t) / L) sum_j sum_l k(d2_lj)
    with       d2_lj = |theta_l - theta*_lj|^2 / |theta_0l - theta*_lj|^2

Every round starts at theta_0. The sums run over the solutions j of earlier rounds and the groups l
of parameters (`penalty.py`, `kernels.py`). s(t) is 1 up to the fraction a of the round's steps,
falls linearly to 0 at b, and stays 0, so that a round ends at a minimum of L itself.

Min 2020, "Persistent Neurons" (arXiv 2007.01419). Only the abstract was available to us. It says
that updates carry deterministic error terms away from earlier convergence points, from the same
initialisation, in full and in partial variants. The penalty's form and all of its constants are a
reconstruction.

The network trains as usual, in any loop: the penalty is one node of the graph, or its gradient is
added after the backward pass.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.distributed import from_first_rank
from onefold.ensemble.ensemble import Ensemble
from onefold.ensemble.names import EnsembleMean
from onefold.ensemble.pool import ClassPool
from onefold.errors import PersistentError
from onefold.explore.persistent.kernels import PREDICTIONS, kernel_named
from onefold.explore.persistent.options import (
    NEW,
    OPTIONS,
    SAME,
    annealed,
    check_options,
    check_order,
    check_reference,
    check_same_run,
)
from onefold.explore.persistent.penalty import Evaluated, Repulsion, as_node
from onefold.explore.persistent.repulsion import RepulsionBuilder, copy_at
from onefold.explore.persistent.scopes import ALL, Group, Scope, groups_of
from onefold.explore.persistent.snapshot import Snapshot, unwrapped
from onefold.explore.persistent.solutions import Solution, Solutions, check_score
from onefold.inference import OutputChoice, as_output
from onefold.isolation import isolated
from onefold.patterns import Patterns
from onefold.tasks import AUTO, TaskChoice, as_scoring


class PersistentTraining:
    """Rounds of training from one start, each repelled from the solutions of earlier rounds.

        run = onefold.PersistentTraining(model, steps_per_round=1000)
        for _ in range(4):
            optimiser = torch.optim.SGD(model.parameters(), ...)
            for x, y in loader:                                    # 1000 steps
                loss = F.cross_entropy(model(x), y) + run.penalty()
                optimiser.zero_grad(); loss.backward(); optimiser.step(); run.step()
            run.record(score=accuracy(model, validation))
            run.restart()
        network = run.best()

    The caller owns the model and trains it, under any optimiser, precision or wrapper. The
    initialisation is what the model holds when the PersistentTraining is made.

    A group is the weight and bias of a layer. A group of a solution that did not move from the
    start at all is left out, since nothing can be measured in it.

    Args:
        model: the network, or a wrapper of it (torch.compile, DistributedDataParallel).
        steps_per_round: optimiser steps of a round, in which the annealing is measured. Further
            steps are allowed; they have no penalty.
        scope: the parameters that are repelled: "all" trainable ones, those of the "first" layer,
            of the last, the "head", or of the "last:n" layers; else a pattern of parameter or
            module names, or several. With kernel="function", what the penalty's gradient may move.
        kernel: "gaussian", "inverse", "hinge", "cosine" (all between parameters, normalised for
            every group) or "function" (between predictions).
        strength: weight of the penalty.
        width: reach of the kernel, in units of the way from the start to the solution.
        anneal: the fractions (a, b) of the round between which the strength falls to 0.
        memory: how many of the last solutions repel; None for all.
        control: repel from random points instead, which in every group are as far from the start as
            the solutions: the uninformed control.
        mirror: also repel from the reflection of the last solution about the start, 2 theta_0 -
            theta*. Without it a round tends to move in exactly the opposite direction; with it the
            round moves sideways. Ours, not in the paper.
        exclude: patterns of parameters that are left out of the scope.
        reference: for kernel="function", the batch whose predictions are compared: inputs, (inputs,
            labels) or a dict.
        store: a folder for the solutions, so that memory holds only those that repel; None holds
            all of them in memory.
        precision: "bfloat16", "float16" or "float32", in which solutions are stored; None stores
            exact values.
        seed: of the control's points and of `order_seed`.
        output: for kernel="function" and `ensemble`, which output is meant if the network returns
            several, and on which axis its classes lie (`onefold.inference`).
        task: for kernel="function" and `ensemble`, what the network is asked (`onefold.tasks`): a
            name, or a `Task`. "auto" tells it from the labels of the reference batch, and takes
            outputs for those of classes if there are none.

    Raises:
        PersistentError: an option is out of its range.
        SettingError: a pattern matches nothing.
        DataError: the network cannot run on the reference batch.
        OutputError: the folder cannot be made.
    """

    @checked
    @isolated
    def __init__(
        self,
        model: nn.Module,
        steps_per_round: int,
        scope: Scope = ALL,
        kernel: str = "gaussian",
        strength: float = 1.0,
        width: float = 1.0,
        anneal: tuple[float, float] = (0.5, 0.75),
        memory: int | None = None,
        control: bool = False,
        *,
        mirror: bool = False,
        exclude: Patterns = None,
        reference: Any = None,
        store: str | os.PathLike[str] | None = None,
        precision: str | None = None,
        seed: int = 0,
        output: OutputChoice = None,
        task: TaskChoice = AUTO,
    ) -> None:
        self._output, self._scoring = as_output(output), as_scoring(task)
        self.steps_per_round, self.strength, self.width = steps_per_round, strength, width
        self.anneal: tuple[float, float] = anneal
        self.memory, self.control, self.mirror, self.seed = memory, control, mirror, seed
        self._check_options()
        self.model, self._network = model, unwrapped(model)
        self.kernel, self._kernel = kernel, kernel_named(kernel)
        check_reference(kernel, self._kernel.of == PREDICTIONS, reference)
        self.groups: list[Group] = groups_of(self._network, scope, exclude)
        self.start = Snapshot.of(self._network)
        self.start.check_ranks(self._network)
        self._reference: Any = reference
        if reference is not None:
            # Fails now, and not after a round, if the network cannot run on it.
            self._builder().predictions(self.start)
        self._store = Solutions(self.start, store, precision)
        self.round, self.steps, self._order, self._restarts = 0, 0, 0, 0
        self._find_owners()

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def penalty(self) -> Tensor:
        """The penalty at the network's parameters, a number to be added to the loss.

        It is exactly 0 in round 0 and once annealed. Its gradient, in closed form, is that of the
        parameters as they are now. With kernel="function" this runs the network on the reference
        batch. If the loss itself does not reach some parameters, DistributedDataParallel allows no
        other gradient for them: use `add_gradient` there.
        """
        known = self._evaluate(torch.is_grad_enabled())
        if known is None:
            return torch.zeros(
                (), device=self._parameters()[0].device, requires_grad=torch.is_grad_enabled()
            )
        value, gradient = known
        return value if gradient is None else as_node(value, gradient, self._parameters())

    @torch.no_grad()
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def add_gradient(self, scale: float = 1.0) -> None:
        """Add the penalty's gradient, times `scale`, to the parameters' `.grad`.

        Call it instead of `penalty()`, between backward pass and optimiser step. Gradients that a
        GradScaler has scaled need its `get_scale()` as scale, or `unscale_` before.
        """
        known = self._evaluate(True)
        if known is None or known[1] is None:
            return
        pairs = [
            (p, g) for p, g in zip(self._parameters(), known[1], strict=True) if p.requires_grad
        ]
        for parameter, gradient in pairs:
            if parameter.grad is None:
                parameter.grad = gradient.mul_(scale)
            elif parameter.grad.is_sparse:
                parameter.grad = gradient.mul_(scale) + parameter.grad
            else:
                parameter.grad.add_(gradient, alpha=scale)

    def step(self) -> None:
        """Count one step, for the annealing; call it after the optimiser's step."""
        if self.round == 0 and self.steps == 0:
            self._store.check_free()
        self.steps += 1

    @property
    def factor(self) -> float:
        """The number that multiplies the kernels now, which is the annealed strength."""
        return float(self.strength) * annealed(self.steps / self.steps_per_round, self.anneal)

    def record(self, score: Any) -> None:
        """End the round: record the network as it is now, with a score.

        If there are several processes, the first one's score counts, and it writes the files.

        Args:
            score: a number; higher is better.

        Raises:
            PersistentError: the round is recorded already, a weight is NaN or infinite, the score
                is NaN, or the network is not that of round 0.
            OutputError: the solution cannot be written.
        """
        if self._recorded:
            raise PersistentError(
                f"Round {self.round} is recorded already; call restart() before the next round."
            )
        number = from_first_rank(check_score(score))
        self.start.check(self._network)
        self._store.add(self.round, number, self._network)

    @checked
    @isolated
    def restart(self, order: str = SAME, *, abandon: bool = False) -> None:
        """Begin the next round from the initialisation.

        Parameters and buffers of the start are written into the network, bit for bit. Gradients are
        dropped. Make a new optimiser.

        Args:
            order: "same" for the `order_seed` of the first round, "new" for one that was not used
                before.
            abandon: repeat this round, which is not recorded.

        Raises:
            PersistentError: the round is not recorded, there is no such order, or the network is
                not that of round 0.
        """
        check_order(order)
        if self._recorded == abandon:
            done = (
                "is recorded and cannot be abandoned"
                if abandon
                else "has no recorded solution yet; call record(score) first, or pass abandon=True"
            )
            raise PersistentError(f"Round {self.round} {done}.")
        self.start.put_into(self._network)
        self.round += not abandon
        self.steps, self._restarts = 0, self._restarts + 1
        self._order = self._restarts if order == NEW else 0
        self._find_owners()

    @property
    def order_seed(self) -> int:
        """The seed of this round's data order, for `torch.Generator().manual_seed`."""
        return int(np.random.default_rng([self.seed, 2, self._order]).integers(2**62))

    @property
    def solutions(self) -> list[Solution]:
        """All recorded solutions, in order."""
        return list(self._store.all)

    @property
    def scores(self) -> list[float]:
        """The score of every recorded round."""
        return [solution.score for solution in self._store.all]

    @checked
    @isolated
    def network(self, number: int) -> nn.Module:
        """The network of a recorded round: a plain copy with its own weights, in evaluation mode.

        Raises:
            PersistentError: there is no such round, or its file is missing or changed.
        """
        found = [solution for solution in self._store.all if solution.round == number]
        if not found:
            raise PersistentError(
                f"There is no recorded round {number}; {len(self._store.all)} are recorded, counted"
                " from 0."
            )
        return copy_at(self._network, found[0].snapshot()).eval()

    def best(self) -> nn.Module:
        """The network of the round with the highest score; of equals the first.

        It is a copy, as `network` gives it.

        Raises:
            PersistentError: nothing is recorded.
        """
        self._check_any("best")
        return self.network(max(self._store.all, key=lambda solution: solution.score).round)

    @checked
    def ensemble(self, ensemble: EnsembleMean | ClassPool | None = None) -> Ensemble:
        """The networks of all recorded rounds, which answer as one.

        Args:
            ensemble: "probabilities", "logits", "outputs" or a pool (see `onefold.Ensemble`). None:
                the task's own mean.

        Raises:
            PersistentError: as `best`.
            SettingError: there is no such ensemble.
        """
        self._check_any("ensemble")
        networks = [self.network(solution.round) for solution in self._store.all]
        return Ensemble(networks, ensemble, self._output, self._scoring.task)

    def state_dict(self) -> dict[str, Any]:
        """The state on which all further rounds depend, but for the network itself.

        It holds tensors and plain data, which torch.load reads with weights_only=True.
        """
        return {
            "kernel": self.kernel,
            "scope": [name for group in self.groups for name in group.parameters],
            "precision": self._store.precision,
            "options": {name: getattr(self, name) for name in OPTIONS},
            "counters": [self.round, self.steps, self._order, self._restarts],
            "start": [dict(self.start.parameters), dict(self.start.buffers)],
            "solutions": self._store.state(),
        }

    @checked
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, to the same bits; the caller loads network and optimiser.

        Raises:
            PersistentError: the state is of another kernel, scope, precision or network, or a
                solution's file is missing or changed.
        """
        check_same_run(state, self.state_dict())
        Snapshot(*state["start"]).check(self._network)
        start = self.start.placed(state["start"])
        self._store.load(state["solutions"], start)
        self.start = start
        for name, value in state["options"].items():
            setattr(self, name, tuple(value) if name == "anneal" else value)
        self._check_options()
        self.round, self.steps, self._order, self._restarts = state["counters"]
        self._find_owners()

    def __repr__(self) -> str:
        tensors = sum(len(group.parameters) for group in self.groups)
        return (
            f"PersistentTraining(round={self.round}, steps={self.steps}/{self.steps_per_round},"
            f" kernel={self.kernel!r}, strength={self.strength}, width={self.width},"
            f" anneal={self.anneal}, groups={len(self.groups)}, tensors={tensors},"
            f" recorded={len(self._store.all)})"
        )

    @property
    def _recorded(self) -> bool:
        return len(self._store.all) > self.round

    def _check_options(self) -> None:
        check_options(
            self.steps_per_round, self.strength, self.width, self.anneal, self.memory, self.seed
        )

    def _builder(self) -> RepulsionBuilder:
        return RepulsionBuilder(
            self._kernel,
            self._network,
            self.groups,
            self.start,
            self._reference,
            self._output,
            self._scoring,
        )

    def _check_any(self, what: str) -> None:
        if not self._store.all:
            raise PersistentError(
                f"No round has been recorded yet, so there is nothing for {what}(); call"
                " record(score) at the end of a round."
            )

    def _find_owners(self) -> None:
        """Look up the modules that own the parameters, and drop the current repulsion."""
        names = [name.rpartition(".") for group in self.groups for name in group.parameters]
        module = self._network.get_submodule
        self._owners = [(module(owner)._parameters, name) for owner, _, name in names]
        self.repulsion: Repulsion | None = None

    def _parameters(self) -> list[Tensor]:
        """The parameters of the scope, group by group, as they are in the network now."""
        return [tensor for owner, name in self._owners if (tensor := owner[name]) is not None]

    def _evaluate(self, gradient: bool) -> Evaluated | None:
        """The penalty and its gradient; None if the penalty is 0, so that nothing is computed."""
        factor = self.factor
        if factor == 0 or self.round == 0:
            return None
        parameters = self._parameters()
        device = parameters[0].device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            if self.repulsion is None or self.repulsion.device != device:
                near = [solution for solution in self._store.all if solution.round < self.round]
                near = near if self.memory is None else near[-self.memory :]
                self.repulsion = self._builder().build(near, self.control, self.mirror, self.seed)
            return self.repulsion.evaluate(parameters, factor, float(self.width), gradient)
