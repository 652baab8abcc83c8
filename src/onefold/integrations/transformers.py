"""Callbacks for the Trainer of transformers: subspaces, and averages of the last steps.

    trainer = Trainer(onefold.Subspace(network, shape="line"), arguments, ...)
    trainer.add_callback(SubspaceCallback(trainer))
    trainer.add_callback(AveragingCallback(trainer))

A callback of this Trainer is told neither the loss nor where to log, so that these take the trainer
itself. The penalty joins the loss that the network returns.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Data
from onefold.distributed import mean_over_ranks
from onefold.errors import SettingError, SubspaceError
from onefold.explore import Subspace
from onefold.integrations.average import Average, AverageOfTraining, RunningAverage, as_average
from onefold.integrations.loaders import Reread, of_this_rank, order_kept
from onefold.integrations.packages import class_of_loops
from onefold.integrations.scoring import STATISTICS, Score, points_of, scores_of
from onefold.tasks import AUTO, TaskChoice, as_scoring
from onefold.weights import load, save

if TYPE_CHECKING:

    class _Callback: ...

else:
    _Callback = class_of_loops(
        "TrainerCallback", ("transformers",), "hf", "Callbacks for transformers"
    )

AVERAGES = "onefold_average"  # files of averages in a checkpoint's folder begin with it


class _Scored(_Callback):
    """What both callbacks share: which data they score on, and how they log.

    Args:
        trainer: the transformers.Trainer whose callback this is.
        data: held-out batches; None for the batches that the trainer evaluates.
        statistics: training batches for the statistics of batch norms; None for the first
            STATISTICS of the trainer.
        score: from a network to its scores by name; None for the scores of the task and metrics.
        task: as in `onefold.evaluate`.
        metrics: as in `onefold.evaluate`.
    """

    def __init__(
        self,
        trainer: Any,
        data: Data | None,
        statistics: Data | None,
        score: Score | None,
        task: TaskChoice,
        metrics: Any,
    ) -> None:
        super().__init__()
        self.trainer, self.data, self.statistics, self.score = trainer, data, statistics, score
        self.scoring = as_scoring(task, metrics)
        self._training = False

    def _training_batches(self, loader: Any) -> Data | None:
        if self.statistics is not None or loader is None:
            return self.statistics
        return of_this_rank(Reread(loader, STATISTICS))

    def _log_scores(
        self,
        control: Any,
        metrics: dict[str, float],
        networks: Iterable[tuple[str, nn.Module]],
        eval_dataloader: Any,
        train_dataloader: Any,
    ) -> None:
        """Log scores as `eval_NETWORK_SCORE`, and add them to what `evaluate` returns."""
        held_out = None
        if self.score is None:
            held_out = self.data if self.data is not None else Reread(eval_dataloader)
        found: dict[str, float] = {}
        with order_kept(held_out, self._training_batches(train_dataloader)):
            for label, network in networks:
                device = next(network.parameters()).device
                values = scores_of(
                    network, held_out, self.score, self.scoring.task, self.scoring.metrics
                )
                for name, value in values.items():
                    mean = mean_over_ranks(torch.tensor(value, device=device))
                    found[f"eval_{label}_{name}"] = float(mean)
        metrics.update(found)
        self._log(control, found)

    def _log(self, control: Any, values: dict[str, float]) -> None:
        """Log through the trainer, which takes that for the loop's own logging of this step."""
        wanted = control.should_log
        self.trainer.log(values)
        control.should_log = self.trainer.control.should_log = wanted


class SubspaceCallback(_Scored):
    """Adds the penalty of a subspace to the loss that its network returns, and logs its points.

    The trainer's model is an `onefold.Subspace` of a network that returns its loss, or holds one.
    The penalty is added in training mode, before the trainer divides for accumulated gradients, so
    that the logged loss contains it.

    Logged are `subspace_penalty`, the mean since the last record, whenever the trainer logs the
    loss; and after every evaluation `eval_midpoint_accuracy`, `eval_vertex_0_nll` and so on, which
    are also among the metrics of the evaluation. Each point has batch-norm statistics of its own.
    The trainer's own `eval_loss` is that of the midpoint.

    Checkpoints need nothing more: the subspace is the model.

    Args:
        trainer: the transformers.Trainer whose callback this is.
        ends: score the ends as well as the midpoint.
        data: held-out batches to score on; None for the batches that the trainer evaluates.
        statistics: training batches for the statistics of batch norms; None for the first 50 of the
            trainer.
        score: from a network to its scores by name; None for the scores of the task and metrics.
        task: as in `onefold.evaluate`.
        metrics: as in `onefold.evaluate`.

    Raises:
        SubspaceError: the model holds no subspace or several, or its network returns no loss.
    """

    @checked
    def __init__(
        self,
        trainer: Any,
        *,
        ends: bool = True,
        data: Data | None = None,
        statistics: Data | None = None,
        score: Score | None = None,
        task: TaskChoice = AUTO,
        metrics: Any = (),
    ) -> None:
        super().__init__(trainer, data, statistics, score, task, metrics)
        self.ends = ends
        self._penalty: _PenaltyInLoss | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let the network's loss contain the penalty."""
        space = _subspace_in(self.trainer.model)
        _PenaltyInLoss.remove(space)
        self._penalty = _PenaltyInLoss(space)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the network's loss as it was."""
        _PenaltyInLoss.remove(_subspace_in(self.trainer.model))
        self._penalty = None

    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
        """Log the penalty beside the loss."""
        if "loss" in logs and self._penalty is not None and (mean := self._penalty.mean()):
            self._log(control, mean)

    def on_evaluate(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: dict[str, float],
        eval_dataloader: Any = None,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Log the scores of the midpoint and the ends."""
        space = _subspace_in(self.trainer.model)
        statistics = self._training_batches(train_dataloader)
        networks = points_of(space, self.ends, statistics)
        self._log_scores(control, metrics, networks, eval_dataloader, train_dataloader)


class _PenaltyInLoss:
    """A hook that adds the penalty of a subspace to the loss in its network's output."""

    def __init__(self, space: Subspace) -> None:
        self.sum: Tensor | None = None
        self.steps = 0
        space.register_forward_hook(self)

    @staticmethod
    def remove(space: Subspace) -> None:
        """Take such hooks off, also those of a training that was broken off."""
        for key, hook in list(space._forward_hooks.items()):
            if isinstance(hook, _PenaltyInLoss):
                del space._forward_hooks[key]

    def mean(self) -> dict[str, float]:
        """The mean penalty since the last call, with its name; empty if there was none."""
        if self.sum is None:
            return {}
        mean = float(self.sum) / self.steps
        self.sum, self.steps = None, 0
        return {"subspace_penalty": mean}

    def __call__(self, space: Any, inputs: Any, output: Any) -> Any:
        if not space.training or not torch.is_grad_enabled():
            return None
        penalty = space.diversity_penalty()
        self.sum = penalty.detach() if self.sum is None else self.sum + penalty.detach()
        self.steps += 1
        if isinstance(output, dict) and isinstance(output.get("loss"), Tensor):
            output["loss"] = output["loss"] + penalty
            return output
        first = output[0] if isinstance(output, tuple) and output else None
        if isinstance(first, Tensor) and first.dim() == 0:
            return (first + penalty, *output[1:])
        raise SubspaceError(
            f"{type(space.network).__name__} returned no loss to which the penalty could be added;"
            " give it labels, and no label_smoothing_factor or compute_loss_func, which take the"
            " labels away from it."
        )


class AveragingCallback(AverageOfTraining, _Scored):
    """Averages the weights of the last steps of a training.

    The average is that of torch.optim.swa_utils.AveragedModel, beginning after a share of the
    training, with the statistics of batch norms re-estimated. The model stays as trained.

        averaging = AveragingCallback(trainer, "uniform")
        trainer.add_callback(averaging)
        trainer.train()
        network = averaging.averaged()                            # a plain network

    Logged are `eval_average_accuracy` and so on after every evaluation, once a step has been
    averaged. Every checkpoint's folder gets a file of the average, and a training that goes on from
    it has the average of an uninterrupted training.

    Args:
        trainer: the transformers.Trainer whose callback this is.
        average: "uniform", "exponential", or an `Average` with its settings.
        data: held-out batches to score on; None for the batches that the trainer evaluates.
        statistics: training batches for the statistics of batch norms; None for the first 50 of the
            trainer.
        score: from a network to its scores by name; None for the scores of the task and metrics.
        task: as in `onefold.evaluate`.
        metrics: as in `onefold.evaluate`.
        resume_from: the folder of the checkpoint from which the training goes on; None for
            `checkpoint-STEP` in the output folder of the trainer.

    Raises:
        SettingError: there is no such average, or a checkpoint holds none.
    """

    @checked
    def __init__(
        self,
        trainer: Any,
        average: str | Average = "uniform",
        *,
        data: Data | None = None,
        statistics: Data | None = None,
        score: Score | None = None,
        task: TaskChoice = AUTO,
        metrics: Any = (),
        resume_from: str | Path | None = None,
    ) -> None:
        super().__init__(trainer, data, statistics, score, task, metrics)
        self.average, self.resume_from = as_average(average), resume_from

    def on_train_begin(
        self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any
    ) -> None:
        """Begin the average, or go on with that of the checkpoint."""
        self._running = RunningAverage(self.trainer.model, self.average, state.max_steps)
        self._batches = self._training_batches(train_dataloader)
        if not state.global_step:
            return
        folder = Path(self.resume_from or Path(args.output_dir, f"checkpoint-{state.global_step}"))
        file = folder / self._file
        if file.exists():
            self._running.load(load(file))
        elif state.global_step <= self._running.first:
            self._running.seen = state.global_step
        else:
            raise SettingError(
                f"{folder} holds no file {self._file}, so that the average of the steps so far is"
                " lost; name the checkpoint's folder with resume_from=, or let averaging start"
                f" after step {state.global_step}."
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up the network after a step of the optimiser."""
        assert self._running is not None
        self._running.step()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the average into the checkpoint's folder, once there is one."""
        if state.is_world_process_zero and self._running is not None and self._running.averaged:
            folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
            save(self._running.state(), folder / self._file, force=True, check_finite=False)

    def on_evaluate(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: dict[str, float],
        eval_dataloader: Any = None,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Log the scores of the average."""
        if self._running is None or not self._running.averaged:
            return
        network = self._running.network(self._training_batches(train_dataloader))
        networks = [("average", network)]
        self._log_scores(control, metrics, networks, eval_dataloader, train_dataloader)

    @property
    def _file(self) -> str:
        return f"{AVERAGES}_{self.average.kind}.safetensors"


def _subspace_in(model: nn.Module) -> Subspace:
    """The one subspace that a model is or holds.

    Raises:
        SubspaceError: it holds none or several.
    """
    found = [each for each in model.modules() if isinstance(each, Subspace)]
    if len(found) != 1:
        raise SubspaceError(
            f"The trainer's model, a {type(model).__name__}, holds {len(found) or 'no'}"
            f" subspace{'s' * (len(found) > 1)}; give the trainer one onefold.Subspace(network)."
        )
    return found[0]
