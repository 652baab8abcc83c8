"""Callbacks for the Trainer of Lightning: subspaces, and averages of the last steps.

    lit.model = onefold.Subspace(network, shape="line")     # in the LightningModule
    trainer = Trainer(callbacks=[SubspaceCallback()])       # adds the penalty, logs the ends
    trainer = Trainer(callbacks=[AveragingCallback()])      # averages the last quarter

They work with `pytorch_lightning` and with `lightning.pytorch`, which hold the same classes under
two names: the callbacks are of both kinds where both are installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Data
from onefold.errors import SettingError, SubspaceError, warn
from onefold.explore import Subspace
from onefold.integrations.average import Average, AverageOfTraining, RunningAverage, as_average
from onefold.integrations.loaders import Reread, of_this_rank, order_kept
from onefold.integrations.packages import class_of_loops
from onefold.integrations.scoring import STATISTICS, Score, points_of, scores_of
from onefold.tasks import AUTO, TaskChoice, as_scoring

if TYPE_CHECKING:

    class _Callback:
        def _generate_state_key(self, **kwargs: Any) -> str: ...

else:
    _Callback = class_of_loops(
        "Callback",
        ("pytorch_lightning", "lightning.pytorch"),
        "lightning",
        "Callbacks for Lightning",
    )


class _Scored(_Callback):
    """What both callbacks share: which data they score on, and when.

    Args:
        data: held-out batches; None for the validation batches of the loop.
        statistics: training batches for the statistics of batch norms; None for the first
            STATISTICS of the loop.
        score: from a network to its scores by name; None for the scores of the task and metrics.
        task: as in `onefold.evaluate`.
        metrics: as in `onefold.evaluate`.
    """

    def __init__(
        self,
        data: Data | None,
        statistics: Data | None,
        score: Score | None,
        task: TaskChoice,
        metrics: Any,
    ) -> None:
        super().__init__()
        self.data, self.statistics, self.score = data, statistics, score
        self.scoring = as_scoring(task, metrics)

    def _training_batches(self, trainer: Any) -> Data | None:
        if self.statistics is not None:
            return self.statistics
        loader = trainer.train_dataloader
        if loader is None or isinstance(loader, (list, tuple, dict)):
            return None  # several loaders, whose batches no network takes as they are
        limit = trainer.num_training_batches
        most = int(min(STATISTICS, limit)) if limit else STATISTICS
        return of_this_rank(Reread(loader, most))

    def _held_out(self, trainer: Any) -> list[tuple[str, Data | None]]:
        """Every set of held-out batches with what its scores' names end in."""
        if self.score is not None:
            return [("", None)]
        if self.data is not None:
            return [("", self.data)]
        loaders = trainer.val_dataloaders
        several = isinstance(loaders, (list, tuple))
        loaders = list(loaders) if several else [loaders]
        limits = trainer.num_val_batches
        limits = list(limits) if isinstance(limits, (list, tuple)) else [limits] * len(loaders)
        found: list[tuple[str, Data | None]] = []
        for k, loader in enumerate(loaders):
            if isinstance(loader, dict):
                raise SettingError(
                    "The validation batches of this training come from loaders by name, which"
                    " onefold cannot score on; pass score=, a function from a network to its"
                    " scores."
                )
            most = int(limits[k]) if limits[k] != float("inf") else None
            ending = f"/dataloader_idx_{k}" if several and len(loaders) > 1 else ""
            found.append((ending, Reread(loader, most)))
        return found

    def _log_scores(
        self, module: Any, label: str, network: nn.Module, held_out: list[tuple[str, Data | None]]
    ) -> None:
        for ending, data in held_out:
            found = scores_of(network, data, self.score, self.scoring.task, self.scoring.metrics)
            values = {f"{label}/{name}{ending}": value for name, value in found.items()}
            module.log_dict(values, batch_size=1, sync_dist=True, add_dataloader_idx=False)


def _scores_now(trainer: Any) -> bool:
    """Whether this validation is one of a training, and not its check of two batches."""
    return bool(trainer.state.fn == "fit" and not trainer.sanity_checking)


class SubspaceCallback(_Scored):
    """Adds the penalty of the subspaces in a LightningModule, and logs their points' scores.

    The module holds one `onefold.Subspace` or several, and its `training_step` returns the loss
    alone. The penalty is added to the loss before every backward pass, divided for accumulated
    gradients and scaled for float16 as the loss is. With manual optimisation it is added to every
    loss that depends on the subspace.

    Logged are `subspace/penalty` in every step, and after every validation `subspace/midpoint/...`
    and `subspace/vertex_0/...` of the ends. Several subspaces have their names in between, as in
    `subspace/encoder/penalty`. Each point has batch-norm statistics of its own there. Scores cost
    one pass over the validation batches for each point, and one over `statistics` if there is batch
    norm. The module, its mode and the loop's random numbers stay as they are.

    Checkpoints need nothing more: the subspace is in the module's state.

    Args:
        ends: score the ends as well as the midpoint.
        data: held-out batches to score on; None for the validation batches of the loop.
        statistics: training batches for the statistics of batch norms; None for the first 50 of the
            loop.
        score: from a network to its scores by name; None for the scores of the task and metrics.
        task: as in `onefold.evaluate`.
        metrics: as in `onefold.evaluate`.
        every: scores are taken at every so many validations; 0 takes none.

    Raises:
        SubspaceError: the module holds no subspace, or as `Subspace.at`.
        SettingError: a setting is out of range.
    """

    @checked
    def __init__(
        self,
        *,
        ends: bool = True,
        data: Data | None = None,
        statistics: Data | None = None,
        score: Score | None = None,
        task: TaskChoice = AUTO,
        metrics: Any = (),
        every: int = 1,
    ) -> None:
        super().__init__(data, statistics, score, task, metrics)
        if every < 0:
            raise SettingError(f"Scores are taken every 0 validations or more, not every={every}.")
        self.ends, self.every = ends, every
        self._spaces: dict[str, Subspace] = {}
        self._validations = self._added = 0

    def state_dict(self) -> dict[str, Any]:
        """The number of validations, for `every`."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._validations = int(state_dict["validations"])

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Find the subspaces."""
        found = {
            name: each for name, each in pl_module.named_modules() if isinstance(each, Subspace)
        }
        if not found:
            raise SubspaceError(
                f"{type(pl_module).__name__} holds no subspace; let its network be"
                " onefold.Subspace(network)."
            )
        self._spaces = (
            {"subspace": next(iter(found.values()))}
            if len(found) == 1
            else {f"subspace/{name}": each for name, each in found.items()}
        )

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Add the penalty to the loss, in place."""
        automatic = pl_module.automatic_optimization
        for label, space in self._spaces.items():
            if not space.beta or not space.training:
                continue
            if not automatic and not _depends(loss, space):
                continue
            penalty = space.diversity_penalty()
            added = penalty / trainer.accumulate_grad_batches if automatic else penalty
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            loss.add_((added if scaler is None else scaler.scale(added)).to(loss.device))
            pl_module.log(f"{label}/penalty", penalty.detach(), batch_size=1)
            self._added += 1

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Warn if the penalty reached no loss of an epoch."""
        if not self._added and any(space.beta for space in self._spaces.values()):
            warn(
                UserWarning(
                    "No loss of this epoch depended on the subspace, so its penalty was never"
                    " added; pass the loss of its network to manual_backward."
                )
            )
        self._added = 0

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the scores of the midpoint and the ends."""
        if not _scores_now(trainer):
            return
        self._validations += 1
        if not self.every or (self._validations - 1) % self.every:
            return
        held_out, statistics = self._held_out(trainer), self._training_batches(trainer)
        with order_kept(statistics, *(data for _, data in held_out)):
            for label, space in self._spaces.items():
                for point, network in points_of(space, self.ends, statistics):
                    self._log_scores(pl_module, f"{label}/{point}", network, held_out)


class AveragingCallback(AverageOfTraining, _Scored):
    """Averages the weights of the last steps of a training.

    The average is that of torch.optim.swa_utils.AveragedModel. Unlike Lightning's own
    WeightAveraging, it leaves the module as trained, in validation and at the end; it re-estimates
    the statistics of batch norms for the average, instead of averaging those of training; it begins
    after a share of the training; and it logs the scores of the average beside those of the loop.

        averaging = AveragingCallback("uniform")
        Trainer(callbacks=[averaging]).fit(lit, loader, held_out)
        network = averaging.averaged()                            # a plain network
        lit.model.load_state_dict(network.state_dict())           # to go on with the average

    Logged are `average/...` after every validation, once a step has been averaged. The average is
    in the checkpoints, and a training that goes on from one has the average of an uninterrupted
    training.

    Args:
        average: "uniform", "exponential", or an `Average` with its settings.
        network: name of the module to average; None for the one child of the LightningModule that
            has parameters.
        data: held-out batches to score on; None for the validation batches of the loop.
        statistics: training batches for the statistics of batch norms; None for the first 50 of the
            loop.
        score: from a network to its scores by name; None for the scores of the task and metrics.
        task: as in `onefold.evaluate`.
        metrics: as in `onefold.evaluate`.

    Raises:
        SettingError: there is no such average or module.
    """

    @checked
    def __init__(
        self,
        average: str | Average = "uniform",
        *,
        network: str | None = None,
        data: Data | None = None,
        statistics: Data | None = None,
        score: Score | None = None,
        task: TaskChoice = AUTO,
        metrics: Any = (),
    ) -> None:
        super().__init__(data, statistics, score, task, metrics)
        self.average, self.network = as_average(average), network
        self._loaded: dict[str, Any] | None = None
        self._step = 0

    @property
    def state_key(self) -> str:
        """Tells several averages of one training apart."""
        return self._generate_state_key(average=repr(self.average), network=self.network)

    def state_dict(self) -> dict[str, Any]:
        """The average so far."""
        return {} if self._running is None else dict(self._running.state())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned, when the training begins."""
        self._loaded = state_dict or None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin the average, or go on with that of the checkpoint."""
        total = trainer.estimated_stepping_batches
        self._running = RunningAverage(self._found(pl_module), self.average, total)
        if self._loaded is not None:
            self._running.load(self._loaded)
            self._loaded = None
        self._step = trainer.global_step
        self._batches = self._training_batches(trainer)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take up the network, if an optimiser has taken a step."""
        if trainer.global_step > self._step:
            assert self._running is not None
            self._step = trainer.global_step
            self._running.step()

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the scores of the average."""
        if not _scores_now(trainer) or self._running is None or not self._running.averaged:
            return
        held_out, statistics = self._held_out(trainer), self._training_batches(trainer)
        with order_kept(statistics, *(data for _, data in held_out)), torch.inference_mode(False):
            network = self._running.network(statistics)
            self._log_scores(pl_module, "average", network, held_out)

    def _found(self, module: Any) -> nn.Module:
        if self.network is not None:
            try:
                found: nn.Module = module.get_submodule(self.network)
            except AttributeError:
                raise SettingError(
                    f"{type(module).__name__} has no module '{self.network}' to average; name one"
                    " that it has."
                ) from None
            return found
        children: dict[str, nn.Module] = {
            name: child
            for name, child in module.named_children()
            if any(True for _ in child.parameters())
        }
        if len(children) == 1:
            return next(iter(children.values()))
        raise SettingError(
            f"{type(module).__name__} has {len(children)} modules with parameters"
            f" ({', '.join(children) or 'none'}); say with network= which of them is averaged."
        )


def _depends(loss: Tensor, space: Subspace) -> bool:
    """Whether gradients of the loss reach the vertices of the subspace."""
    wanted = {id(p) for p in space.vertices.parameters() if p.requires_grad}
    nodes, seen = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if id(getattr(node, "variable", None)) in wanted:
            return True
        nodes += [before for before, _ in node.next_functions]
    return False
