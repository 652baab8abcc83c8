"""NaN and infinity are found where they stand: in which file, in which tensor, how many.

A sum is finite if all its terms are, unless it is larger than its dtype holds. Sums are therefore
taken first (in the dtype itself, which is several times as fast, unless that is float16), and
elements are counted only where a sum is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from onefold.checkpoints.engine.inputs import Inputs
from onefold.checkpoints.layouts import Held
from onefold.checkpoints.plan.jobs import Job
from onefold.errors import WeightsError
from onefold.printable import counted

BLOCK = 1 << 20  # elements that are looked at in one step
# Methods in whose result every number that is not finite shows, so that the result is looked at
# and not the inputs: 0 times infinity is NaN, too.
SHOWN_IN_RESULT = ("linear", "slerp", "task_arithmetic", "passthrough")


def all_finite(values: Tensor) -> bool:
    """Whether a one-dimensional tensor of a floating dtype holds finite numbers alone."""
    wide = torch.float32 if values.dtype == torch.float16 else None
    return math.isfinite(values.sum(dtype=wide).item()) or count_of(values) == 0


def count_of(values: Tensor) -> int:
    """The number of elements that are NaN or infinite."""
    return int(torch.isfinite(values).logical_not_().sum())


def blocks(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor in parts of `BLOCK` elements."""
    flat = tensor.reshape(-1)
    for start in range(0, len(flat), BLOCK):
        yield flat[start : start + BLOCK]


def check_input(held: Held, tensor: Tensor) -> None:
    """Refuse a tensor of a model that is not finite.

    Raises:
        WeightsError: the message names the file, the tensor and the number of elements.
    """
    if all(all_finite(part) for part in blocks(tensor)):
        return
    count = sum(count_of(part) for part in blocks(tensor))
    raise WeightsError(
        f"{held.file} holds {count} of {held.numel} elements in '{held.name}' that are NaN or"
        " infinite; get the file again, or leave this model out."
    )


def refuse_result(job: Job, inputs: Inputs, count: int) -> None:
    """Say why a result is not finite: by an input that is not, or else by its dtype.

    Raises:
        WeightsError: always.
    """
    for held in job.inputs:
        check_input(held, inputs.tensor(held))
    raise WeightsError(
        f"The merged '{job.name}' has at least {counted(count, 'element')} NaN or infinite in"
        f" {job.dtype}, although all inputs are finite; choose other weights, or out_dtype float32."
    )
