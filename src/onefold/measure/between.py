"""Networks between others: weighted sums of tensors, and statistics that belong to them.

w(a) = sum_k a_k w_k. The statistics of batch norms that are summed alike belong to no network, so
that they may be measured anew at every point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Data, check_reiterable
from onefold.batchnorm import reestimate
from onefold.caches import clear_eval_caches
from onefold.copying import copied
from onefold.errors import DataError, MembersError, SettingError, nearest
from onefold.given import same_class
from onefold.inference import OutputChoice
from onefold.inference.running import networks
from onefold.isolation import isolated
from onefold.measure.evaluation import score_networks
from onefold.tasks import Scores, Scoring

Recalibrate = Callable[[nn.Module], object] | Literal["batchnorm"] | None


@checked
@isolated
@torch.no_grad()
def combine(members: Sequence[nn.Module], weights: Sequence[float]) -> nn.Module:
    """A copy of the first network with the weighted sum of all networks' tensors.

    The sum is that of floating parameters and buffers; other buffers are the first one's. Sums run
    in float32 at least. A member of weight 0 is left out, so that (1, 0) gives the first network
    bit for bit.
    """
    result = copied(members[0])
    tensors = [_tensors(member) for member in members]
    for name, target in _tensors(result).items():
        if not (target.is_floating_point() or target.is_complex()):
            continue
        wide = torch.promote_types(target.dtype, torch.float32)
        terms = [
            (table[name].to(target.device, wide), w)
            for table, w in zip(tensors, weights, strict=True)
            if w
        ]
        first, w = terms[0]
        total = first * w
        for term, w in terms[1:]:
            total += term * w
        target.copy_(total)
    clear_eval_caches(result)
    return result


def matching(members: Sequence[nn.Module]) -> list[nn.Module]:
    """The networks as a list, after a check that they have one class and the same tensors.

    Raises:
        MembersError: they differ; the message names the first tensor in which two of them do.
    """
    members = list(networks(members))
    first, reference = members[0], _tensors(members[0])
    for k, member in enumerate(members[1:], start=1):
        if not same_class(member, first):
            raise MembersError(
                f"Member {k} is a {type(member).__name__}, member 0 a {type(first).__name__}; both"
                " must be of one class."
            )
        tensors = _tensors(member)
        for name in (*reference, *tensors):
            if name not in tensors or name not in reference:
                raise MembersError(
                    f"Tensor '{name}' is in member {0 if name in reference else k} only; a line"
                    " needs equal architectures."
                )
            if tensors[name].shape != reference[name].shape:
                shapes = (
                    f"{tuple(tensors[name].shape)} in member {k} and {tuple(reference[name].shape)}"
                    " in member 0"
                )
                raise MembersError(
                    f"Tensor '{name}' has shape {shapes}; a line needs equal architectures."
                )
    return members


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict([*module.named_parameters(), *module.named_buffers()])


def recalibration(
    recalibrate: Recalibrate, calibration_data: Data | None
) -> Callable[[nn.Module], object]:
    """A function that repairs the statistics of a network in place, as an argument asks for.

    Raises:
        SettingError: there is no such recalibration. DataError: it needs data.
    """
    if recalibrate is None:
        return lambda network: None
    if callable(recalibrate):
        return recalibrate
    if recalibrate != "batchnorm":
        raise SettingError(
            f"There is no recalibration named '{recalibrate}';"
            f" {nearest(recalibrate, ['batchnorm'])}"
        )
    if calibration_data is None:
        raise DataError(
            "Batch-norm statistics need calibration data; pass calibration_data, for example"
            " training batches."
        )
    batches = check_reiterable(calibration_data, "calibration data")
    return lambda network: reestimate(network, batches)


def scores_of(network: nn.Module, data: Data, scoring: Scoring, output: OutputChoice) -> Scores:
    """The scores of one network."""
    return score_networks([network], data, scoring, output=output).members[0]


__all__ = ["Recalibrate", "combine", "matching", "recalibration", "scores_of"]
