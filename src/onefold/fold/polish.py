"""Distil the members' ensemble into one network, on unlabelled data.

    minimise over theta   mean_x KL(q(x) || softmax f_theta(x)),    q(x) = softmax(mean_k f_k(x)),
    mean_k softmax(f_k(x)), or a pool,

by Adam, rate 1e-4 falling linearly to 0. Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in
a Neural Network" (arXiv 1503.02531), at temperature 1 and without labels. As the last step of a
fold it repairs what layer-wise solutions cannot see; applied to the best member it is the honest
baseline of every fold: `polish(best, members, data, passes=3)`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.alignment import check_networks
from onefold.batches import Batch, Data, batches, check_reiterable, device_of, dtype_of
from onefold.batchnorm import norms_of
from onefold.caches import clear_eval_caches
from onefold.ensemble.class_shares import pooled
from onefold.ensemble.mean import mean_output
from onefold.ensemble.names import EnsembleMean, EnsembleName, check_ensemble, name_of
from onefold.ensemble.pool import ClassPool
from onefold.errors import DataError, SettingError
from onefold.inference import ClassAxis, Output, OutputChoice, as_output, run
from onefold.inference.running import eval_mode
from onefold.progress import track
from onefold.sources import Members, on_disk

M = TypeVar("M", bound=nn.Module)
CLIP = 5.0  # the longest gradient
POLISHING = "distilling by the divergence of class probabilities (polish)"


@dataclass
class Polished(Generic[M]):
    """The distilled network, and how it went: passes, examples of a pass, steps, the mean KL
    divergence of every pass in nats, and the pool that was distilled, if any (`ClassPool.to_dict`);
    and the settings, as of `polish`.
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
        return {
            name: getattr(self, name)
            for name in (
                "passes",
                "ensemble",
                "lr",
                "batchnorm",
                "seed",
                "examples",
                "steps",
                "divergence",
                "classes",
            )
        }


def polish(
    model: M,
    teachers: Sequence[nn.Module],
    data: Data,
    *,
    passes: int = 3,
    lr: float = 1e-4,
    ensemble: EnsembleName | ClassPool = "logits",
    batchnorm: str = "eval",
    seed: int = 0,
    output: OutputChoice = None,
) -> Polished[M]:
    """A copy of `model` distilled from the ensemble of `teachers`; all of them stay as they are.

    Args:
        data: batches, in the loader's own order; where they are a list, their order is drawn anew
            for every pass. Of labels the shape alone is read, which says where the classes are.
        teachers: of `DiskMembers` one is in memory at a time, if `data` is a list; else all are
            read again for every batch.
        passes: over the data. lr: the first rate of Adam.
        ensemble: what is distilled: the softmax of the mean "logits", the mean of the
            "probabilities", or a pool of them (`onefold.class_pool`); "classes" is the pool that is
            estimated from `data`, whose classes are taken to be even.
        batchnorm: "eval" keeps the running statistics as they are, so that every step sees the
            function that is returned; "train" normalises by each batch and lets the statistics
            follow. Dropout is off in both.
        seed: of the order of the batches.
        output: which output is distilled where the networks return several, and on which axis its
            classes lie (`onefold.inference`). Only outputs of classes can be distilled: one number
            for each example is refused.

    Raises:
        MembersError, WeightsError: the networks do not fit together. DataError: the data cannot be
        run or gives losses that are not finite, or nothing says which output is meant and where its
        classes are. SettingError: a setting is unusable.
    """
    _check(passes, lr, ensemble, batchnorm)
    meant = as_output(output)
    if on_disk(teachers):
        for teacher in teachers:
            check_networks([model, teacher])
    else:
        check_networks([model, *teachers])
    data = check_reiterable(data, "data to distil on")
    logits = _Logits(meant)
    check_distillable(model, data, meant)
    student = copy.deepcopy(model)
    clear_eval_caches(student)
    student.eval()
    for parameter in student.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    trained = [p for p in student.parameters() if p.requires_grad]
    mean = pooled(ensemble, teachers, data, meant)
    classes = mean.to_dict() if isinstance(mean, ClassPool) else None
    result = Polished(
        student, passes, name_of(mean), classes=classes, lr=lr, batchnorm=batchnorm, seed=seed
    )
    if batchnorm == "train":
        for norm in norms_of(student):
            norm.train()
    kept: dict[int, Tensor] | None = {} if isinstance(data, list | tuple) else None
    if kept is not None and on_disk(teachers):
        kept |= _aims(teachers, data, device_of(model), mean, logits)
    generator = torch.Generator().manual_seed(seed)
    device = device_of(model)
    total = passes * (
        len(data)
        if isinstance(data, list | tuple)
        else sum(1 for _ in batches(data, device, "data to distil on"))
    )
    wide = dtype_of(model) in (torch.float32, torch.float64)
    master = trained if wide else [p.detach().float().requires_grad_() for p in trained]
    optimiser = torch.optim.Adam(master, lr)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / max(1, total))
    for number in track(range(passes), "polish", passes):
        divergence, seen = 0.0, 0
        for batch in _in_order(data, device, generator):
            aim = _aim(teachers, batch, mean, kept, logits)
            loss = (
                F.kl_div(
                    torch.log_softmax(logits(student, batch).float(), -1),
                    aim,
                    log_target=True,
                    reduction="sum",
                )
                / aim[..., 0].numel()
            )
            if not bool(torch.isfinite(loss)):
                raise DataError(
                    f"The divergence from the ensemble is not finite at {batch.describe()} in pass"
                    f" {number}; check the data and members."
                )
            optimiser.zero_grad()
            gradients = torch.autograd.grad(loss, trained, allow_unused=True)
            for own, gradient in zip(master, gradients, strict=True):
                own.grad = None if gradient is None else gradient.to(own.dtype)
            torch.nn.utils.clip_grad_norm_(master, CLIP)
            optimiser.step()
            rate.step()
            if not wide:
                with torch.no_grad():
                    for own, low in zip(master, trained, strict=True):
                        low.copy_(own)
            divergence, seen, result.steps = (
                divergence + float(loss.detach()) * batch.size,
                seen + batch.size,
                result.steps + 1,
            )
        result.divergence.append(divergence / seen)
        result.examples = seen
    _restore(student, model)
    return result


def _check(passes: int, lr: float, ensemble: EnsembleName | ClassPool, batchnorm: str) -> None:
    if passes < 1:
        raise SettingError(f"Distillation was asked for {passes} passes; it needs at least 1.")
    if not 0 < lr < float("inf"):
        raise SettingError(f"The rate of distillation is {lr}; it must be greater than 0.")
    check_ensemble(ensemble)
    if batchnorm not in ("eval", "train"):
        raise SettingError(
            f"Batch norm can be polished in mode 'eval' or 'train', not '{batchnorm}'."
        )


def _in_order(data: Data, device: torch.device, generator: torch.Generator) -> Iterable[Batch]:
    """The batches of one pass."""
    if not isinstance(data, list | tuple):
        return batches(data, device, "data to distil on")
    every = list(batches(data, device, "data to distil on"))
    return [every[k] for k in torch.randperm(len(every), generator=generator).tolist()]


def check_distillable(
    network: nn.Module, data: Data, output: Output, todo: str = POLISHING
) -> None:
    """Raises DataError where the network's outputs on the first batch are not known to be classes.
    todo: what they are needed for.
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


def _aim(
    teachers: Sequence[nn.Module],
    batch: Batch,
    ensemble: EnsembleMean | ClassPool,
    kept: dict[int, Tensor] | None,
    logits: _Logits,
) -> Tensor:
    """The ensemble's log-probabilities on a batch, kept for the next pass where the batches stay
    the same.
    """
    if kept is not None and batch.index in kept:
        return kept[batch.index]
    with torch.no_grad(), eval_mode(teachers):
        aim = torch.log_softmax(
            mean_output([logits(teacher, batch).float() for teacher in teachers], ensemble), -1
        )
    if kept is not None:
        kept[batch.index] = aim
    return aim


def _aims(
    teachers: Members,
    data: Data,
    device: torch.device,
    ensemble: EnsembleMean | ClassPool,
    logits: _Logits,
) -> dict[int, Tensor]:
    """The same of every batch, one teacher after the other."""
    found: dict[int, list[Tensor]] = {}
    with torch.no_grad():
        for k in range(len(teachers)):
            teacher = teachers[k]  # in eval mode, as all members on disk
            for batch in batches(data, device, "data to distil on"):
                found.setdefault(batch.index, []).append(logits(teacher, batch).float())
        return {
            index: torch.log_softmax(mean_output(outputs, ensemble), -1)
            for index, outputs in found.items()
        }


def _restore(student: nn.Module, model: nn.Module) -> None:
    """The flags of the network that was copied."""
    for own, old in zip(student.modules(), model.modules(), strict=True):
        own.training = old.training
    for parameter, before in zip(student.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(before.requires_grad)
        parameter.grad = None
