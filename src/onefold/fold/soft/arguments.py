"""Checks of the arguments of SoftMerge, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from onefold.alignment import Alignment
from onefold.batches import device_of
from onefold.copying import check_copyable
from onefold.errors import MembersError, SettingError, nearest
from onefold.fold.soft.align_members import check_alike
from onefold.fold.soft.mixture import OUTPUTS
from onefold.given import no_network
from onefold.patterns import Patterns

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


def check_logits(logits: Sequence[Tensor]) -> None:
    """Refuse members whose logits (n, classes) differ in shape.

    Raises:
        MembersError: a member returns another number of classes or rows than member 0.
    """
    for k, rows in enumerate(logits):
        if rows.shape[-1] != logits[0].shape[-1] or len(rows) != len(logits[0]):
            raise MembersError(
                f"Member {k} returns {rows.shape[-1]} numbers per example, but member 0"
                f" {logits[0].shape[-1]}; only networks of one task can be merged."
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
