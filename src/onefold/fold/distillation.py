"""Distillation of the members' ensemble into one network, on unlabelled data.

    minimise over theta   mean_x KL(q(x) || softmax f_theta(x))
    q(x) = softmax(mean_k f_k(x)), or mean_k softmax(f_k(x)), or a pool

by Adam, with a rate that falls linearly from 1e-4 to 0. As the last step of a fold it corrects
errors that layer-wise solutions cannot see. Applied to the best member it is the honest baseline of
every fold: `polish(best, members, data, 3)`.

Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531), at
temperature 1 and without labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.alignment import check_networks
from onefold.arguments import check_fields, checked
from onefold.batch_parts import in_memory
from onefold.batches import Batch, Data, batches, check_reiterable, device_of, dtype_of
from onefold.batchnorm import norms_of
from onefold.caches import clear_eval_caches
from onefold.copying import copied
from onefold.ensemble.class_shares import pooled
from onefold.ensemble.mean import mean_output
from onefold.ensemble.names import EnsembleMean, EnsembleName, check_ensemble, name_of
from onefold.ensemble.pool import ClassPool
from onefold.errors import DataError, SettingError
from onefold.inference import ClassAxis, Output, OutputChoice, as_output, run
from onefold.inference.running import eval_mode
from onefold.isolation import isolated
from onefold.progress import track
from onefold.sources import on_disk

M = TypeVar("M", bound=nn.Module)
CLIP = 5.0  # the longest gradient
POLISHING = "distilling by the divergence of class probabilities (polish)"


@dataclass(frozen=True)
class Polish:
    """The settings of a distillation.

    Attributes:
        passes: passes over the data.
        lr: the first learning rate of Adam.
        ensemble: the ensemble that is distilled: the softmax of the mean "logits", the mean of the
            "probabilities", or a pool of them (`onefold.class_pool`). "classes" is the pool that is
            estimated from the data, whose classes are taken to be even. None: the ensemble that the
            fold aims at, which is "logits" for most.
        batchnorm: "eval" leaves the running statistics as they are, so that every step computes the
            function that is returned; "train" normalises by each batch and updates the statistics.
            Dropout is off in both.
    """

    passes: int = 3
    lr: float = 1e-4
    ensemble: EnsembleName | ClassPool | None = None
    batchnorm: str = "eval"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            SettingError: one of them is unusable.
        """
        check_fields(self)
        if self.passes < 1:
            raise SettingError(
                f"Distillation was asked for {self.passes} passes; it needs at least 1."
            )
        if not 0 < self.lr < float("inf"):
            raise SettingError(f"The rate of distillation is {self.lr}; it must be greater than 0.")
        if self.ensemble is not None:
            check_ensemble(self.ensemble)
        if self.batchnorm not in ("eval", "train"):
            raise SettingError(
                f"Batch norm can be polished in mode 'eval' or 'train', not {self.batchnorm!r}."
            )


def as_polish(polish: int | Polish) -> Polish | None:
    """A number of passes as settings; None for 0 passes.

    Raises:
        SettingError: the number is negative.
    """
    if isinstance(polish, Polish):
        return polish
    if polish < 0:
        raise SettingError(
            f"polish is {polish}; it is a number of passes over the calibration data, 0 or"
            " more, or onefold.Polish(passes=...)."
        )
    return Polish(passes=polish) if polish else None


@dataclass(repr=False)
class Polished(Generic[M]):
    """The distilled network, and the numbers of the distillation.

    Attributes:
        model: the network.
        passes: passes over the data.
        ensemble: the name of the ensemble that was distilled.
        examples: the examples of a pass.
        steps: the steps of the optimiser.
        divergence: the mean KL divergence of every pass in nats.
        classes: the pool that was distilled, if any (`ClassPool.to_dict`).
        lr: the first learning rate.
        batchnorm: "eval" or "train".
        seed: of the order of the batches.
    """

    model: M
    passes: int
    ensemble: str
    examples: int = 0
    steps: int = 0
    divergence: list[float] = field(default_factory=list)
    classes: dict[str, Any] | None = None
    lr: float = 0.0
    batchnorm: str = "eval"
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the network."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "model"}

    def __repr__(self) -> str:
        return (
            f"Polished({type(self.model).__name__}, {self.passes} passes of {self.examples}"
            f" examples, divergence {self.divergence[-1] if self.divergence else None})"
        )


@checked
@isolated
def polish(
    model: M,
    teachers: Sequence[nn.Module],
    data: Data,
    settings: int | Polish | None = None,
    *,
    seed: int = 0,
    output: OutputChoice = None,
    **fields: Any,
) -> Polished[M]:
    """A copy of `model` distilled from the ensemble of `teachers`; all of them stay as they are.

    Args:
        model: the network at the start.
        teachers: the members of the ensemble. Of members on disk one is in memory at a time, if
            `data` is a list; else all are read again for every batch.
        data: batches in the loader's own order; if they are a list, their order is drawn anew for
            every pass. Of labels only the shape is read, which tells the axis of the classes.
        settings: passes over the data, or a `Polish` with more settings; None: its defaults.
        seed: of the order of the batches.
        output: which output is distilled if the networks return several, and on which axis its
            classes lie (`onefold.inference`). Only outputs of classes can be distilled: one number
            for each example is refused.
        **fields: fields of `Polish`, in place of `settings`.

    Raises:
        MembersError, WeightsError: the networks do not fit together.
        DataError: the data cannot be run or gives losses that are not finite, or the output or the
            axis of its classes is not known.
        SettingError: a setting is unusable.
    """
    named = Polish(**fields)  # also refuses a name that is no field
    if fields and settings is not None:
        raise SettingError(
            f"Distillation was given settings and {', '.join(fields)}; give one of them."
        )
    chosen = named if settings is None else as_polish(settings)
    if chosen is None:
        raise SettingError("Distillation was asked for 0 passes; it needs at least 1.")
    meant = as_output(output)
    for group in [[teacher] for teacher in teachers] if on_disk(teachers) else [list(teachers)]:
        check_networks([model, *group])
    data = check_reiterable(data, "data to distil on")
    check_distillable(model, data, meant)
    student = _student(model, chosen)
    mean = pooled(chosen.ensemble or "logits", teachers, data, meant)
    result = Polished(
        student,
        chosen.passes,
        name_of(mean),
        classes=mean.to_dict() if isinstance(mean, ClassPool) else None,
        lr=chosen.lr,
        batchnorm=chosen.batchnorm,
        seed=seed,
    )
    aims = _Aims(teachers, data, mean, _Logits(meant), device_of(model))
    _train(student, data, aims, result)
    _restore(student, model)
    return result


def _student(model: M, settings: Polish) -> M:
    """A copy of the network, ready to be trained."""
    student = copied(model)
    clear_eval_caches(student)
    student.eval()
    for parameter in student.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    if settings.batchnorm == "train":
        for norm in norms_of(student):
            norm.train()
    return student


def _train(student: nn.Module, data: Data, aims: _Aims, result: Polished[M]) -> None:
    """Train the student in all passes, and enter the numbers into `result`."""
    device = device_of(student)
    trained = [p for p in student.parameters() if p.requires_grad]
    wide = dtype_of(student) in (torch.float32, torch.float64)
    master = trained if wide else [p.detach().float().requires_grad_() for p in trained]
    optimiser = torch.optim.Adam(master, result.lr)
    total = result.passes * _count(data, device)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / max(1, total))
    generator = torch.Generator().manual_seed(result.seed)
    for number in track(range(result.passes), "polish", result.passes):
        divergence, seen = 0.0, 0
        for batch in _in_order(data, device, generator):
            loss = _divergence(aims.logits(student, batch), aims(batch))
            if not bool(torch.isfinite(loss)):
                raise DataError(
                    f"The divergence from the ensemble is not finite at {batch.describe()} in pass"
                    f" {number}; check the data and members."
                )
            optimiser.zero_grad()
            gradients = torch.autograd.grad(loss, trained, allow_unused=True)
            for parameter, gradient in zip(master, gradients, strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.dtype)
            torch.nn.utils.clip_grad_norm_(master, CLIP)
            optimiser.step()
            rate.step()
            if not wide:
                with torch.no_grad():
                    for parameter, narrow in zip(master, trained, strict=True):
                        narrow.copy_(parameter)
            divergence += float(loss.detach()) * batch.size
            seen += batch.size
            result.steps += 1
        result.divergence.append(divergence / seen)
        result.examples = seen


def _divergence(logits: Tensor, aim: Tensor) -> Tensor:
    """The mean KL divergence, in nats, of log-probabilities `aim` from the logits' softmax."""
    ours = torch.log_softmax(logits.float(), -1)
    return F.kl_div(ours, aim, log_target=True, reduction="sum") / aim[..., 0].numel()


def _count(data: Data, device: torch.device) -> int:
    """How many batches one pass has."""
    if in_memory(data):
        return len(data)  # type: ignore[arg-type]
    return sum(1 for _ in batches(data, device, "data to distil on"))


def _in_order(data: Data, device: torch.device, generator: torch.Generator) -> Iterable[Batch]:
    """The batches of one pass."""
    if not in_memory(data):
        return batches(data, device, "data to distil on")
    every = list(batches(data, device, "data to distil on"))
    return [every[k] for k in torch.randperm(len(every), generator=generator).tolist()]


def check_distillable(
    network: nn.Module, data: Data, output: Output, todo: str = POLISHING
) -> None:
    """Refuse a network whose outputs on the first batch are not known to be classes.

    Args:
        network: the network.
        data: batches.
        output: which output is meant.
        todo: what the classes are needed for, for the message.

    Raises:
        DataError: as said.
    """
    with eval_mode([network]):
        _Logits(output, todo)(network, next(batches(data, device_of(network), "data to distil on")))


class _Logits:
    """The logits (n, ..., classes) of a network on one batch after the other."""

    def __init__(self, output: Output, todo: str = POLISHING) -> None:
        self._output, self._axis = output, ClassAxis(output, todo)

    def __call__(self, network: nn.Module, batch: Batch) -> Tensor:
        return self._axis.last(
            run(network, batch, self._output), batch.labels, where=f" of batch {batch.index}"
        )


class _Aims:
    """The ensemble's log-probabilities on a batch.

    They are computed once if the batches stay the same from pass to pass, as those of a list do.
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module],
        data: Data,
        ensemble: EnsembleMean | ClassPool,
        logits: _Logits,
        device: torch.device,
    ) -> None:
        self.logits = logits
        self._teachers, self._ensemble = teachers, ensemble
        self._known: dict[int, Tensor] | None = {} if in_memory(data) else None
        if self._known is not None and on_disk(teachers):
            self._known |= self._in_turn(data, device)

    def __call__(self, batch: Batch) -> Tensor:
        if self._known is not None and batch.index in self._known:
            return self._known[batch.index]
        with torch.no_grad(), eval_mode(self._teachers):
            aim = self._mean([self.logits(t, batch).float() for t in self._teachers])
        if self._known is not None:
            self._known[batch.index] = aim
        return aim

    def _mean(self, outputs: Sequence[Tensor]) -> Tensor:
        return torch.log_softmax(mean_output(outputs, self._ensemble), -1)

    def _in_turn(self, data: Data, device: torch.device) -> dict[int, Tensor]:
        """The log-probabilities of every batch, with one teacher in memory at a time.

        Teachers on disk are in eval mode.
        """
        outputs: dict[int, list[Tensor]] = {}
        with torch.no_grad():
            for k in range(len(self._teachers)):
                teacher = self._teachers[k]
                for batch in batches(data, device, "data to distil on"):
                    outputs.setdefault(batch.index, []).append(self.logits(teacher, batch).float())
            return {index: self._mean(all_outputs) for index, all_outputs in outputs.items()}


def _restore(student: nn.Module, model: nn.Module) -> None:
    """Give the student the flags of the network that was copied."""
    for module, original in zip(student.modules(), model.modules(), strict=True):
        module.training = original.training
    for parameter, before in zip(student.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(before.requires_grad)
        parameter.grad = None
