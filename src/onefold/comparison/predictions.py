"""The outputs of several networks on the same examples, read in one pass.

They are scores of classes if something says on which axis the classes lie (`class_axis.py` in
`inference`). If nothing does they are numbers, as a regressor's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onefold.batches import Batch, Data
from onefold.errors import DataError
from onefold.inference import ClassAxis, Output
from onefold.inference.running import eval_mode, outputs_of
from onefold.sources import on_disk

EXAMPLES = 5000  # enough to tell shares of classes to half a point
VALUES = 2**26  # numbers kept over all networks: 256 MiB


@dataclass(frozen=True, eq=False)
class Predictions:
    """What K networks put out on the same examples.

    Attributes:
        rows: for each network a float32 tensor on the CPU: logits (n, C) of classes, or (n, D)
            numbers.
        classes: whether they are scores of classes.
        examples: how many examples were read; an example may have several rows.
    """

    rows: tuple[Tensor, ...]
    classes: bool
    examples: int

    @property
    def finite(self) -> list[bool]:
        """For each network, whether all that it puts out is finite."""
        return [bool(torch.isfinite(own).all()) for own in self.rows]


def read_predictions(
    models: Sequence[nn.Module], data: Data, output: Output, also: Sequence[nn.Module] = ()
) -> Predictions:
    """Run all networks on the data, up to EXAMPLES examples or VALUES numbers.

    Args:
        models: the networks; of networks on disk one is in memory at a time, and the data must come
            in one order.
        data: batches; labels are read for their shape alone.
        output: which output is meant.
        also: further networks in memory; their outputs come last.

    Raises:
        DataError: the data is empty, or a network cannot run on it.
        MembersError: the networks' outputs differ in shape.
    """
    if on_disk(models):
        first = _read(models, data, output)
        if not also:
            return first
        rest = _read(also, data, output)
        return Predictions((*first.rows, *rest.rows), first.classes, first.examples)
    return _read([*models, *also], data, output)


def _read(models: Sequence[nn.Module], data: Data, output: Output) -> Predictions:
    axis = ClassAxis(output, "telling what networks know")
    rows: list[list[Tensor]] = [[] for _ in models]
    classes, examples, numbers = True, 0, 0
    with eval_mode(models):
        for outputs, batch in outputs_of(models, data, "Comparing", output):
            if not examples:
                classes = _has_classes(axis, outputs[0], batch)
            for kept, values in zip(rows, outputs, strict=True):
                own = axis.last(values, batch.labels) if classes else values
                flat = own.reshape(-1, own.shape[-1]) if classes else own.reshape(len(own), -1)
                kept.append(flat.detach().float().cpu())
            examples += batch.size
            numbers += sum(kept[-1].numel() for kept in rows)
            if examples >= EXAMPLES or numbers >= VALUES:
                break
    return Predictions(tuple(torch.cat(own) for own in rows), classes, examples)


def _has_classes(axis: ClassAxis, values: Tensor, batch: Batch) -> bool:
    """Whether something says where the classes of the outputs are."""
    try:
        axis.of(values, batch.labels)
    except DataError:
        return False
    return True
