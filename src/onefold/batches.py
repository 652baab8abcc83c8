"""Batches of a data loader as inputs and labels, on the right device.

A batch is a tensor (inputs), a tuple (inputs, labels), or a dict for networks that take keywords,
whose entry "labels" holds the labels. Inputs are a tensor, a tuple of tensors (positional
arguments) or a dict of tensors (keyword arguments). Labels are numbers of any shape and type.
Batches may have other sizes, and other lengths of series, than those before. `onefold.Batches` says
what is what in batches of more entries, and numpy's arrays do for tensors (`batch_parts.py`).

Labels may be of any kind (names, boxes, dicts). Code that needs no labels ignores them. Code that
scores calls `labels_of`, which refuses labels of no usable kind. Examples need not lie along the
first axis: see `Batch.size`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DistributedSampler

from onefold.batch_parts import Batches, taken_apart, which_is_what
from onefold.distributed import rank, ranks, several_ranks
from onefold.errors import DataError, SettingError
from onefold.progress import length_of

Data = Iterable[Any]
MANY = 10_000  # batches after which data that do not say their number may have no end


@dataclass(frozen=True)
class Batch:
    """One batch, ready for a network: `network(*args, **kwargs)`.

    Attributes:
        args: positional inputs.
        kwargs: keyword inputs.
        labels: numbers of any shape, as (n,), (n, classes) or (n, h, w), or None.
        index: number of the batch in the data, from 0.
        axis: axis of the first input that counts examples; None for the axis that the labels tell,
            else the first.
        unusable: description of labels that nothing could score; empty if they are usable.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    labels: Tensor | None = None
    index: int = 0
    axis: int | None = None
    unusable: str = ""

    @property
    def size(self) -> int:
        """Number of examples.

        It is the length of the first input tensor, with two exceptions. If another axis of it is
        that of the labels (n,), as of series (time, n, features), that axis counts. If the inputs
        have different lengths and the labels one of their own, as of graphs, the labels count.
        """
        inputs = self.tensors
        if self.axis is not None:
            return inputs[0].shape[self.axis]
        count = len(self.labels) if self.labels is not None and self.labels.dim() == 1 else None
        first = len(inputs[0]) if inputs[0].dim() else 1
        if count is None or count == first:
            return first
        uneven = len({len(x) for x in inputs if x.dim()}) > 1
        return count if count in inputs[0].shape or uneven else first

    @property
    def tensors(self) -> list[Tensor]:
        """The inputs that are tensors."""
        return [x for x in (*self.args, *self.kwargs.values()) if isinstance(x, Tensor)]

    def describe(self) -> str:
        """Shapes and dtypes of the inputs, for error messages."""
        parts = [
            f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"
            for x in (*self.args, *self.kwargs.values())
            if isinstance(x, Tensor)
        ]
        return f"batch {self.index} (inputs {', '.join(parts)})"


@dataclass(frozen=True)
class RankShare:
    """The batches of one process among several.

    Rank r takes the batches r, r + world, r + 2 world, ... of `data`. Numbers are the same whatever
    the number of processes, so that random draws for a batch are the same too.

    Attributes:
        data: batches of all ranks, or of this rank alone.
        rank: number of this process.
        world: number of processes.
        sharded: `data` holds this rank's part alone already; its batch i then counts as number r +
            i world.
    """

    data: Data
    rank: int
    world: int
    sharded: bool = False

    def __iter__(self) -> Iterator[Any]:
        for position, item in enumerate(self.data):
            if self.sharded or position % self.world == self.rank:
                yield item

    def number(self, position: int) -> int:
        """The number, among those of all ranks, of this rank's batch at `position`."""
        return self.rank + position * self.world


def shard_for_rank(data: Data, sharded: bool | None = None) -> Data:
    """This process's share of `data` if it is one of several, else `data` itself.

    Args:
        data: batches.
        sharded: whether `data` is this rank's part already; None: it is if it is a DataLoader with
            a DistributedSampler.
    """
    if not several_ranks() or isinstance(data, RankShare):
        return data
    if sharded is None:
        sharded = isinstance(getattr(data, "sampler", None), DistributedSampler)
    return RankShare(data, rank(), ranks(), sharded)


def unsharded(data: Data) -> Data:
    """The data of a process without its division among ranks."""
    return data.data if isinstance(data, RankShare) else data


def batches(
    data: Data, device: torch.device | str | None = None, what: str = "data"
) -> Iterator[Batch]:
    """Yield the batches of `data`, moved to `device`.

    Args:
        data: batches as a loader yields them.
        device: device for inputs and labels; None leaves them where they are.
        what: name of the data in error messages.

    Yields:
        One Batch for each item.

    Raises:
        DataError: nothing was yielded, an item is of no known kind, or a batch holds no tensor or
            no example.

    Warns:
        UserWarning: very many batches have come, and the data may have no end.
    """
    index, first = -1, None
    for position, item in enumerate(data):
        if position == MANY and length_of(unsharded(data)) is None:
            warnings.warn(
                f"The {what} has yielded {MANY:,} batches and does not say how many it has; if it"
                " never ends, pass a part, as list(itertools.islice(data, 100)).",
                stacklevel=2,
            )
        index = data.number(position) if isinstance(data, RankShare) else position
        args, kwargs, labels, unusable = taken_apart(item, index, what)
        batch = Batch(args, kwargs, labels, index, unusable=unusable)
        if not any(isinstance(x, Tensor) for x in (*batch.args, *batch.kwargs.values())):
            raise DataError(
                f"Batch {index} of the {what} holds no tensor as input; yield tensors, (inputs,"
                " labels) tuples or dicts."
            )
        if any(value.is_nested for value in batch.tensors):
            raise DataError(
                f"Batch {index} of the {what} is a nested tensor; pad its parts to one length, as"
                " torch.nested.to_padded_tensor does, and give the network a mask."
            )
        if not batch.tensors[0].numel() or batch.size == 0:
            raise DataError(f"Batch {index} of the {what} is empty; drop it.")
        first = first or batch
        _check_kind(batch, first, device, what)
        yield batch if device is None else _move(batch, device)
    if index >= 0:
        return
    others_have_all = (
        isinstance(data, RankShare) and not data.sharded and any(True for _ in data.data)
    )
    if not others_have_all:
        raise DataError(
            f"The {what} yielded no batch; pass a non-empty list or DataLoader (an iterator that"
            " was used up yields nothing)."
        )


def _check_kind(batch: Batch, first: Batch, device: torch.device | str | None, what: str) -> None:
    """Refuse inputs of other kinds than those of the first batch, and inputs without numbers.

    Networks on the device 'meta' take such inputs.

    Raises:
        DataError: naming the batch.
    """
    wanted = first.tensors[0].device if device is None else torch.device(device)
    if wanted.type != "meta" and any(value.device.type == "meta" for value in batch.tensors):
        raise DataError(
            f"Batch {batch.index} of the {what} is on the device 'meta', which holds no numbers;"
            " yield batches on a CPU or an accelerator."
        )
    kinds, before = _kinds(batch), _kinds(first)
    for place in kinds.keys() & before.keys():
        if kinds[place] != before[place]:
            raise DataError(
                f"Batch {batch.index} of the {what} holds {kinds[place]} as input {place}, but"
                f" batch {first.index} {before[place]}; yield batches of one kind."
            )


def _kinds(batch: Batch) -> dict[int | str, str]:
    entries: list[tuple[int | str, Any]] = [*enumerate(batch.args), *batch.kwargs.items()]
    return {place: _kind(x) for place, x in entries if isinstance(x, Tensor)}


def _kind(value: Tensor) -> str:
    """What a network must be made for: the class of the numbers, and how they are stored."""
    dtype = value.dtype
    numbers = (
        "complex numbers"
        if dtype.is_complex
        else "floating-point numbers"
        if dtype.is_floating_point
        else "truth values"
        if dtype == torch.bool
        else "whole numbers"
    )
    stored = "" if value.layout == torch.strided else f" ({str(value.layout)[6:]})"
    return numbers + stored


def labels_of(batch: Batch, purpose: str, what: str = "data") -> Tensor:
    """The labels of a batch, for code that needs them.

    Args:
        batch: the batch.
        purpose: clause of an error message that says what the labels are needed for.
        what: name of the data in error messages.

    Raises:
        DataError: there are none, they are of no usable kind, or their number fits no axis of the
            inputs.
    """
    if batch.unusable:
        raise DataError(
            f"The labels of batch {batch.index} of the {what} are {batch.unusable}, but {purpose};"
            f" {_usable(batch.unusable)}"
        )
    if batch.labels is None:
        raise DataError(
            f"Batch {batch.index} of the {what} has no labels, but {purpose}; yield (inputs,"
            f" labels) or a dict with 'labels'{which_is_what(batch.args, batch.kwargs)}."
        )
    labels, sizes = batch.labels, {len(x) for x in batch.tensors if x.dim()}
    fits = not labels.dim() or any(len(labels) in x.shape for x in batch.tensors)
    if len(sizes) == 1 and not fits:
        raise DataError(
            f"Batch {batch.index} of the {what} has {batch.size} inputs but {len(labels)} labels;"
            " give one label per input."
        )
    return labels


def _usable(unusable: str) -> str:
    """What to do about labels of no usable kind, as the end of a sentence."""
    if " with the keys " in unusable:
        return "say which are meant, as onefold.Batches(data, inputs=0, labels=(1, 'class'))."
    return "yield numbers, as a tensor or as a list whose rows have one length."


def check_reiterable(data: Data, what: str = "data") -> Data:
    """`data` itself, if it can be read more than once.

    A one-shot iterator is refused, since several passes are needed.

    Raises:
        DataError: `data` is an iterator, a single tensor or no iterable at all.
    """
    if isinstance(data, Tensor):
        raise DataError(
            f"The {what} is a single tensor; pass an iterable of batches, for example a list or a"
            " DataLoader."
        )
    if not isinstance(data, Iterable):
        raise DataError(
            f"The {what} is a {type(data).__name__}; pass an iterable of batches, for example a"
            " list or a DataLoader."
        )
    if isinstance(data, Batches):
        check_reiterable(data.data, what)
    if isinstance(data, Iterator):
        raise DataError(
            f"The {what} is an iterator, which can be read only once; pass a list or a DataLoader."
        )
    return data


def fingerprint(data: Data, *, labels: bool = False) -> str:
    """SHA-256 over every tensor that `data` yields, in order.

    Args:
        data: batches that can be read more than once.
        labels: whether labels take part as well.
    """
    digest = hashlib.sha256()
    for batch in batches(check_reiterable(data, "calibration data"), what="calibration data"):
        values = [*batch.args, *batch.kwargs.values()]
        if labels and (batch.labels is not None or batch.unusable):
            values.append(labels_of(batch, "they take part here", "calibration data"))
        for value in values:
            if isinstance(value, Tensor):
                digest.update(json.dumps([str(value.dtype), list(value.shape)]).encode())
                flat = value.detach().cpu().contiguous().reshape(-1)
                digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def as_device(device: torch.device | str | None) -> torch.device | None:
    """The device of that name, with its number; None stays None.

    Raises:
        SettingError: there is no such device here.
    """
    if device is None:
        return None
    try:
        return torch.empty(0, device=device).device  # "cuda" becomes "cuda:0"
    except (RuntimeError, AssertionError):
        raise SettingError(
            f"There is no device '{device}' here; use 'cpu', 'cuda' or 'cuda:N'."
        ) from None


def device_of(module: nn.Module) -> torch.device:
    """The device of the module's first parameter or buffer; the CPU if it has none."""
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        return tensor.device
    return torch.device("cpu")


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of the module's first floating-point parameter; float32 if it has none."""
    for tensor in module.parameters():
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.float32


def _move(batch: Batch, device: torch.device | str) -> Batch:
    def to(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    args, kwargs = tuple(to(x) for x in batch.args), {k: to(v) for k, v in batch.kwargs.items()}
    return replace(batch, args=args, kwargs=kwargs, labels=to(batch.labels))
