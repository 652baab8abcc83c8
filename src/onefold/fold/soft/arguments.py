"""Checks of the arguments of SoftMerge, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from onefold.alignment import Alignment
from onefold.batches import device_of
from onefold.copying import check_copyable
from onefold.errors import MembersError, SettingError, nearest
from onefold.fold.soft.align_members import check_alike
from onefold.fold.soft.mixture import OUTPUTS
from onefold.given import no_network
from onefold.patterns import Patterns
from onefold.tasks import Task

LEVELS = ("model", "module", "layer")


def check_arguments(
    models: Sequence[nn.Module],
    level: str,
    include: Patterns,
    exclude: Patterns,
    align: str | Alignment,
    reference: int | str,
    stochastic: bool | str,
    outputs: str,
) -> None:
    """Refuse arguments of SoftMerge that are wrong or exclude each other.

    Raises:
        MembersError: the networks do not fit the level, or each other.
        SettingError: an argument has no such value, or excludes another.
        AlignmentError: the alignment was computed for another number of members.
    """
    if level not in LEVELS:
        raise SettingError(f"There is no level '{level}'; {nearest(level, LEVELS)}")
    _check_networks(models)
    if stochastic not in (True, False, "auto"):
        raise SettingError(f"stochastic is {stochastic!r}; it must be True, False or 'auto'.")
    if isinstance(reference, str) and reference != "best":
        raise SettingError(f"The reference is '{reference}'; give a member's number, or 'best'.")
    if not isinstance(reference, str) and not 0 <= reference < len(models):
        raise MembersError(
            f"The reference is {reference}, but the members are numbered 0 to {len(models) - 1}."
        )
    _check_devices(models)
    if level == "model":
        if include is not None or exclude is not None:
            raise SettingError(
                "`include` and `exclude` choose parts of a network; at level 'model' there are"
                " none, so use level='module' or 'layer'."
            )
    else:
        check_alike(models, align)
        if isinstance(align, Alignment) and reference not in ("best", align.reference):
            raise SettingError(
                f"The reference is {reference}, but the alignment maps to member"
                f" {align.reference}; leave the reference out."
            )
    if outputs not in OUTPUTS:
        raise SettingError(f"There are no outputs '{outputs}' to sum; {nearest(outputs, OUTPUTS)}")


def check_outputs(outputs: str, task: Task) -> None:
    """Refuse a sum of probabilities of a task without classes.

    Raises:
        SettingError: as said.
    """
    if outputs == "probabilities" and not task.classes:
        raise SettingError(
            f"Sums of probabilities are for tasks with classes, and the task is {task.name}; leave"
            " `outputs` out, so that the outputs themselves are summed."
        )


def _check_networks(models: Sequence[nn.Module]) -> None:
    if isinstance(models, nn.Module) or len(models) < 2:
        count = 1 if isinstance(models, nn.Module) else len(models)
        raise MembersError(
            f"{count} network{' was' if count == 1 else 's were'} given, and gates choose between"
            " at least two; pass a list of them."
        )
    for k, model in enumerate(models):
        if not isinstance(model, nn.Module):
            raise no_network(model, f"Member {k}")
        check_copyable(model)


def _check_devices(models: Sequence[nn.Module]) -> None:
    first = device_of(models[0])
    for k, model in enumerate(models):
        if device_of(model) != first:
            raise MembersError(
                f"Member 0 is on {first} but member {k} is on {device_of(model)};"
                " move them to one device."
            )
