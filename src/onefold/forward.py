"""One network on one batch, and in one sentence why it cannot run on it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from onefold.batch_parts import which_is_what
from onefold.batches import Batch, dtype_of
from onefold.errors import DataError, OnefoldError


def forward(module: nn.Module, batch: Batch, dtype: torch.dtype | None = None) -> Any:
    """`module` on `batch`; an error of torch becomes one sentence that names the batch.

    Args:
        module: network to run.
        batch: its inputs.
        dtype: dtype of the inputs, if not the module's own.

    Raises:
        DataError: the inputs' dtype differs from the network's, or the network cannot run on them.
    """
    check_dtype(batch, dtype or dtype_of(module))
    try:
        return module(*batch.args, **batch.kwargs)
    except OnefoldError:  # a module of this library already says what is wrong
        raise
    # a StopIteration would end a loop of ours without a word
    except (RuntimeError, TypeError, ValueError, IndexError, StopIteration) as error:
        raise DataError(_cannot_run(module, batch, error)) from error


def _cannot_run(module: nn.Module, batch: Batch, error: Exception) -> str:
    """Why a network does not run on a batch, and what to do if that is known, as one sentence."""
    reason = str(error).strip().split("\n")[0][:200].rstrip(".") or type(error).__name__
    what = f"{type(module).__name__} cannot run on {batch.describe()}"
    numbers = not any(x.is_floating_point() for x in batch.tensors) and _speaks_of_types(reason)
    if numbers and any(x.dtype == torch.uint8 and x.dim() > 2 for x in batch.tensors):
        return (
            f"{what}, as its weights are floating-point; divide the images by 255 and normalize"
            " them as in training, as images.float() / 255."
        )
    if numbers:
        return f"{what}: {reason}; numbers that are no indices need .to(torch.float32)."
    told = which_is_what(batch.args, batch.kwargs)
    return f"{what}: {reason}{told or '; give inputs of the shapes and types that it takes'}."


def _speaks_of_types(reason: str) -> bool:
    words = ("dtype", "type", "not implemented for", "Float", "float")
    return any(word in reason for word in words)


def check_dtype(batch: Batch, dtype: torch.dtype) -> None:
    """Check that floating-point inputs have the dtype of the network's parameters.

    Under autocast nothing is checked.

    Raises:
        DataError: an input has another dtype.
    """
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        return
    for value in (*batch.args, *batch.kwargs.values()):
        if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != dtype:
            name = str(dtype).removeprefix("torch.")
            what = batch.describe()
            raise DataError(
                f"The network's parameters are {name}, but not the inputs of {what}; convert the"
                f" data with .to(torch.{name})."
            )
