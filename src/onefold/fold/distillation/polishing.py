"""Distillation of the members' ensemble into one network, on unlabelled data.

    minimise over theta   T^2 mean_x KL(q(x) || softmax(f_theta(x) / T))
    q(x) = softmax(g(x) / T),  g = mean_k f_k, or log mean_k softmax(f_k), or a pool

for classifiers, and what the task says for others (`aims.py`), by Adam, with a rate that falls to
0. As the last step of a fold it corrects errors that layer-wise solutions cannot see. Applied to
the best member it is the honest baseline of every fold: `polish(best, members, data, 3)`.

Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531),
without labels. Views of the inputs: see `views.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import nn

from onefold.alignment import check_networks
from onefold.arguments import checked
from onefold.batches import Data, batches, check_reiterable, device_of
from onefold.caches import clear_eval_caches
from onefold.copying import copied
from onefold.ensemble.class_shares import pooled
from onefold.ensemble.names import EnsembleName, name_of
from onefold.ensemble.pool import ClassPool
from onefold.errors import SettingError
from onefold.fold.distillation.aims import WHAT, Lessons, Outputs, check_distillable
from onefold.fold.distillation.settings import Polish, Polished, as_polish
from onefold.fold.distillation.training import train
from onefold.fold.distillation.views import View, Viewer, name_of_views
from onefold.fold.told_task import check_goal, told_task
from onefold.inference import Output, OutputChoice, as_output
from onefold.isolation import isolated
from onefold.sources import on_disk
from onefold.tasks import AUTO, Classification, Task, TaskChoice, as_scoring
from onefold.weights.resized import mark_of

M = TypeVar("M", bound=nn.Module)


@checked
@isolated
def polish(
    model: M,
    teachers: Sequence[nn.Module],
    data: Data,
    settings: int | Polish | None = None,
    *,
    task: TaskChoice = AUTO,
    seed: int = 0,
    output: OutputChoice = None,
    **fields: Any,
) -> Polished[M]:
    """A copy of `model` distilled from the ensemble of `teachers`; all of them stay as they are.

    Args:
        model: the network at the start; one that `onefold.resize`, a fold to a budget or
            `onefold.prune` made may have other widths than the teachers.
        teachers: the members of the ensemble. Of members on disk one is in memory at a time, if
            `data` is a list, and each is read once, with views once in every pass; else all are
            read again for every batch.
        data: batches in the loader's own order; if they are a list, their order is drawn anew for
            every pass. Of labels only the shape is read, which tells the axis of the classes.
        settings: passes over the data, or a `Polish` with more settings; None: its defaults.
        seed: of the order of the batches and of the views.
        task: what the networks are asked, as in `onefold.evaluate`: it says what an ensemble
            answers and how far a student is from it. "auto" tells it from labels; without any the
            outputs are taken for classes, and one number for each example is refused.
        output: which output is distilled if the networks return several, and on which axis its
            classes lie (`onefold.inference`).
        **fields: fields of `Polish`, in place of `settings`.

    Raises:
        MembersError, WeightsError: the networks do not fit together.
        DataError: the data cannot be run or gives losses that are not finite, the views do not fit
            the data, or the output or the axis of its classes is not known.
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
        check_networks([model, *group], shapes=not mark_of(model))
    data = check_reiterable(data, WHAT)
    asked = task_of(model, data, meant, task)
    check_polishable(model, data, meant, asked, chosen.views)
    student = _student(model)
    mean = pooled(mean_of(asked, chosen.ensemble), teachers, data, meant)
    result = Polished(
        student,
        chosen.passes,
        name_of(mean),
        classes=mean.to_dict() if isinstance(mean, ClassPool) else None,
        lr=chosen.lr,
        batchnorm=chosen.batchnorm,
        views=name_of_views(chosen.views),
        temperature=chosen.temperature,
        schedule=chosen.schedule,
        warmup=chosen.warmup,
        seed=seed,
        task=asked.name,
        unit=asked.distance,
    )
    lessons = Lessons(
        teachers,
        data,
        mean,
        Outputs(meant, asked),
        Viewer(chosen.views, seed),
        temperature=chosen.temperature,
        device=device_of(model),
        seed=seed,
    )
    train(student, lessons, chosen, result)
    _restore(student, model)
    return result


def task_of(model: nn.Module, data: Data, output: Output, task: TaskChoice) -> Task:
    """The task that is named, or told by the labels of the first batch; else classification."""
    first = next(batches(data, device_of(model), WHAT))
    told = told_task(model, first, output, as_scoring(task), needed=False)
    return told or Classification()


def mean_of(task: Task, asked: EnsembleName | ClassPool | None) -> EnsembleName | ClassPool:
    """The ensemble that is distilled: as asked, or the mean of outputs.

    Raises:
        SettingError: the task has no such ensemble.
    """
    if asked is None:
        return "logits" if "logits" in task.means else task.means[0]
    check_goal(asked, task)
    return asked


def check_polishable(
    network: nn.Module, data: Data, output: Output, task: Task, views: str | View = "none"
) -> None:
    """Refuse outputs that are none of the task, and views that do not fit the first batch.

    Args:
        network: the network.
        data: batches.
        output: which output is meant.
        task: of the network.
        views: of the inputs.

    Raises:
        DataError: as said.
    """
    check_distillable(network, data, output, task)
    Viewer(views, 0)(next(batches(data, device_of(network), WHAT)))


def _student(model: M) -> M:
    """A copy of the network, ready to be trained."""
    student = copied(model)
    clear_eval_caches(student)
    student.eval()
    for parameter in student.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return student


def _restore(student: nn.Module, model: nn.Module) -> None:
    """Give the student the flags of the network that was copied."""
    for module, original in zip(student.modules(), model.modules(), strict=True):
        module.training = original.training
    for parameter, before in zip(student.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(before.requires_grad)
        parameter.grad = None
