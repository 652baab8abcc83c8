"""One network on one batch, and in one sentence why it cannot run on it."""

from __future__ import annotations

import contextlib
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
    # On a GPU a number out of range would end all work there, so it is looked for before.
    whole = any(x.is_cuda and not x.is_floating_point() for x in batch.tensors)
    if whole and (wrong := not_in_table(module, batch)):
        raise DataError(f"{type(module).__name__} cannot run on {batch.describe()}: {wrong}")
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
    if wrong := not_in_table(module, batch) or _too_long(module, batch, reason):
        return f"{what}: {wrong}"
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


def not_in_table(module: nn.Module, batch: Batch) -> str:
    """Why whole numbers of the inputs have no row in the network's embedding, and what to do.

    Args:
        module: the network.
        batch: its inputs; those of texts are numbers of tokens.

    Returns:
        The end of a sentence; "" if they have one, or if it is not known in which embedding.
    """
    table = _embedding(module)
    tokens = batch.kwargs.get("input_ids", batch.args[0] if batch.args else None)
    if table is None or not isinstance(tokens, Tensor) or not tokens.numel():
        return ""
    if tokens.is_floating_point() or tokens.dtype == torch.bool or tokens.device.type == "meta":
        return ""
    least, largest = int(tokens.min()), int(tokens.max())
    if least >= 0 and largest < table.num_embeddings:
        return ""
    return (
        f"its inputs hold the number {largest if least >= 0 else least}, but the network knows"
        f" {table.num_embeddings} tokens, numbered from 0; make the numbers with the tokenizer of"
        " the model (tokenizer=FOLDER of text:)."
    )


def _embedding(module: nn.Module) -> nn.Embedding | None:
    """The table of tokens: what a network of transformers tells, or the only one there is."""
    tell = getattr(module, "get_input_embeddings", None)
    found: Any = None
    if callable(tell):
        with contextlib.suppress(Exception):  # networks of other inputs refuse in any way
            found = tell()
    if isinstance(found, nn.Embedding):
        return found
    tables = [one for one in module.modules() if isinstance(one, nn.Embedding)]
    return tables[0] if len(tables) == 1 else None


def _too_long(module: nn.Module, batch: Batch, reason: str) -> str:
    """What to do about texts of more tokens than a network has places for; "" if they are not."""
    limit = getattr(getattr(module, "config", None), "max_position_embeddings", None)
    tokens = batch.kwargs.get("input_ids")
    words = ("size", "index out of range", "shape")
    if not isinstance(limit, int) or not isinstance(tokens, Tensor) or tokens.dim() != 2:
        return ""
    if tokens.shape[1] <= limit or not any(word in reason for word in words):
        return ""
    return (
        f"its texts have {tokens.shape[1]} tokens, but the network has places for {limit}; cut"
        f" them (max_length={limit} of text:)."
    )


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
