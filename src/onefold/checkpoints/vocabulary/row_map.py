"""A tensor over the vocabulary of one model, brought to the vocabulary of the result.

    mapped(rows, tensors)                   all rows
    mapped(rows, tensors, start=0, stop=9)  some rows, where a tensor is larger than the memory

Plain functions of tensors: they read no files. A model whose rows stay as they are gets a view of
its own tensor, and nothing is copied.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, MutableMapping
from itertools import pairwise

import torch
from torch import Tensor

from onefold.checkpoints.document import Reference
from onefold.checkpoints.vocabulary.plan import Fill, MemberRows
from onefold.errors import WeightsError

Tensors = Callable[[Reference], Tensor]
Means = MutableMapping[Reference, Tensor]
CHUNK = 1 << 22  # elements that are averaged at once, in float32: 16 MiB


def mapped(
    rows: MemberRows,
    tensors: Tensors,
    *,
    axis: int = 0,
    start: int = 0,
    stop: int | None = None,
    means: Means | None = None,
) -> Tensor:
    """A model's tensor with the rows of the result.

    Args:
        rows: where the rows are from.
        tensors: gives the tensor of a model, whole and of `held` rows; asked for the model's own,
            and for those of `rows.sources` where a row between `start` and `stop` needs them.
        axis: the axis of the vocabulary.
        start: the first row of the result that is wanted.
        stop: one behind the last; None: all.
        means: keeps mean rows of this tensor from one range to the next; None: each range of
            padding that needs one reads the whole tensor.

    Returns:
        The rows from `start` to `stop`, with the dtype and device of the model's own tensor. Means
        are taken in float32 (float64 for tensors of float64).

    Raises:
        WeightsError: a tensor has another number of rows than was planned.
    """
    own = tensors(rows.member)
    stop = rows.size if stop is None else min(stop, rows.size)
    _check(own, axis, rows.held, rows.member)
    if rows.own is None:
        return own.narrow(axis, start, stop - start)
    numbers = _indices(rows.own, start, stop)
    if numbers.numel() == 0:
        return own.narrow(axis, 0, 0)
    result = _picked(own, numbers.to(own.device), axis)
    known: Means = {} if means is None else means
    for fill in rows.fills:
        _fill(result, rows, fill, tensors, axis, start, known)
    return result


def _picked(own: Tensor, numbers: Tensor, axis: int) -> Tensor:
    """The rows of a model, with zeros for those that it has not. Runs of rows are copied whole."""
    shape = list(own.shape)
    shape[axis] = len(numbers)
    result = own.new_zeros(shape)
    breaks = (numbers[1:] - numbers[:-1] != 1).nonzero().flatten() + 1
    if len(breaks) > 64:  # rows out of order
        kept = (numbers >= 0).nonzero().flatten()
        if len(kept):
            result.index_copy_(axis, kept, own.index_select(axis, numbers[kept]))
        return result
    edges = [0, *breaks.tolist(), len(numbers)]
    for first, last in pairwise(edges):
        number = int(numbers[first])
        # A run that begins at -1 goes on with row 0 of the model.
        skipped = 1 if number < 0 else 0
        length = last - first - skipped
        if length > 0:
            source = own.narrow(axis, number + skipped, length)
            result.narrow(axis, first + skipped, length).copy_(source)
    return result


def _fill(
    result: Tensor,
    rows: MemberRows,
    fill: Fill,
    tensors: Tensors,
    axis: int,
    start: int,
    means: Means,
) -> None:
    places, stop = torch.frombuffer(fill.rows, dtype=torch.int64), start + result.shape[axis]
    wanted = ((places >= start) & (places < stop)).nonzero().flatten()
    if len(wanted) == 0:
        return
    where = (places[wanted] - start).to(result.device)
    if fill.origin == "mean row":
        if rows.member not in means:
            means[rows.member] = _mean_row(tensors(rows.member), rows.tokens, axis)
        shape = list(result.shape)
        shape[axis] = len(where)
        result.index_copy_(axis, where, means[rows.member].to(result.dtype).expand(shape))
        return
    precise = torch.float64 if result.dtype == torch.float64 else torch.float32
    total: Tensor | None = None
    for model, numbers in fill.sources:
        other = tensors(model)
        if other.dim() != result.dim() or _rest(other, axis) != _rest(result, axis):
            raise WeightsError(
                f"Rows of {rows.member} cannot be filled from {model}: their tensors have the"
                f" shapes {tuple(result.shape)} and {tuple(other.shape)}."
            )
        index = torch.frombuffer(numbers, dtype=torch.int64)[wanted].to(other.device)
        if int(index.max()) >= other.shape[axis]:
            _check(other, axis, int(index.max()) + 1, model)
        taken = other.index_select(axis, index).to(result.device)
        if len(fill.sources) == 1:
            result.index_copy_(axis, where, taken.to(result.dtype))
            return
        total = taken.to(precise) if total is None else total.add_(taken.to(precise))
    if total is not None:
        result.index_copy_(axis, where, (total / len(fill.sources)).to(result.dtype))


def _mean_row(own: Tensor, tokens: array[int], axis: int) -> Tensor:
    """The mean of the rows of all tokens, of length 1 along the axis of the vocabulary."""
    numbers = torch.frombuffer(tokens, dtype=torch.int64).to(own.device)
    precise = torch.float64 if own.dtype == torch.float64 else torch.float32
    shape = list(own.shape)
    shape[axis] = 1
    total = torch.zeros(shape, dtype=precise, device=own.device)
    step = max(1, CHUNK * own.shape[axis] // max(1, own.numel()))
    for at in range(0, len(numbers), step):
        part = own.index_select(axis, numbers[at : at + step])
        total += part.to(precise).sum(axis, keepdim=True)
    return total / len(numbers)


def _indices(numbers: array[int], start: int, stop: int) -> Tensor:
    if stop <= start:
        return torch.zeros(0, dtype=torch.int64)
    return torch.frombuffer(numbers, dtype=torch.int64, count=stop - start, offset=8 * start)


def _rest(tensor: Tensor, axis: int) -> list[int]:
    return [length for place, length in enumerate(tensor.shape) if place != axis % tensor.dim()]


def _check(tensor: Tensor, axis: int, held: int, model: Reference) -> None:
    if tensor.shape[axis] != held:
        raise WeightsError(
            f"A tensor over the vocabulary of {model} has {tensor.shape[axis]} rows, where its"
            f" embedding has {held}; only tensors with a row for each token can be brought to"
            " another vocabulary."
        )
