"""Networks on all of the data in eval mode: one, several, or members on disk in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Batch, Data, batches, check_reiterable, device_of
from onefold.caches import restored_attributes
from onefold.errors import DataError, MembersError
from onefold.forward import forward
from onefold.inference import ClassAxis, Output, OutputChoice, as_output, run
from onefold.isolation import isolated
from onefold.progress import length_of, track
from onefold.sources import Members, as_members, on_disk

DISORDER = (
    "The data come in another order when they are read again, as members on disk need them; turn"
    " shuffling off."
)


@checked
@isolated
def predictions(
    model: nn.Module,
    data: Data,
    *,
    device: torch.device | str | None = None,
    output: OutputChoice = None,
) -> tuple[Tensor, Tensor | None]:
    """The logits of a network on all of the data, and the labels.

    Args:
        model: runs in eval mode, without gradients.
        data: batches; labels in all or in none.
        device: where to compute; a network on another device is copied there.
        output: as in `onefold.evaluate`.

    Returns:
        The logits (n, ...) in the network's dtype and axes, on the CPU; and the labels (n, ...),
        None if there are none.

    Raises:
        DataError: the data is empty, only some batches have labels, or the network cannot run on a
            batch.
    """
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    models = networks(model).on(device)
    with eval_mode(models):
        for (values,), batch in outputs_of(models, data, "Predicting", as_output(output)):
            logits.append(values.cpu())
            if batch.labels is not None:
                labels.append(batch.labels.cpu())
    if labels and len(labels) < len(logits):
        raise DataError(
            f"Only {len(labels)} of {len(logits)} batches have labels; give labels to all or to"
            " none."
        )
    return torch.cat(logits), torch.cat(labels) if labels else None


def class_outputs(model: nn.Module, data: Data, meant: Output, todo: str) -> Tensor:
    """The logits (n, C) of a network on all of the data, in its dtype and on the CPU.

    It is for callers that need no labels.

    Args:
        model: runs in eval mode, without gradients.
        data: batches.
        meant: which output.
        todo: as in `ClassAxis`.

    Raises:
        DataError: as `predictions`, or nothing says where the classes are.
    """
    axis, rows = ClassAxis(meant, todo), []
    with eval_mode([model]):
        for (values,), batch in outputs_of([model], data, "Predicting", meant):
            logits = axis.last(values, batch.labels, where=f" of batch {batch.index}")
            rows.append(logits.flatten(0, -2).cpu())
    return torch.cat(rows)


@contextmanager
def eval_mode(models: Sequence[nn.Module]) -> Iterator[None]:
    """All networks in eval mode without gradients.

    Afterwards every submodule has its training flag back, also after an error.
    """
    models = [] if on_disk(models) else models  # members on disk are in eval mode already
    flags = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, flag in flags:
            module.training = flag


def networks(models: Any) -> Members:
    """One network or several, as members.

    Args:
        models: as in `onefold.sources.as_members`.

    Raises:
        MembersError: there is none, or something is no nn.Module.
    """
    members = as_members(models)
    if not len(members):
        raise MembersError("There is no network to evaluate; pass at least one.")
    return members


def outputs_of(
    models: Sequence[nn.Module], data: Data, title: str, meant: Output
) -> Iterator[tuple[list[Tensor], Batch]]:
    """Every network's logits on every batch.

    Raises:
        DataError: the data is empty, or a network cannot run on a batch.
        MembersError: the networks' outputs differ in shape.
    """
    if on_disk(models):
        yield from _in_turn(models, data, title, meant)
        return
    devices = [device_of(model) for model in models]
    for batch in track(batches(data), title, length_of(data)):
        placed = {device: _moved(batch, device) for device in dict.fromkeys(devices)}
        outputs = [
            run(model, placed[device], meant) for model, device in zip(models, devices, strict=True)
        ]
        for k, output in enumerate(outputs):
            if output.shape != outputs[0].shape:
                shapes = f"{tuple(output.shape)}, but member 0 {tuple(outputs[0].shape)}"
                raise MembersError(
                    f"Member {k} returns logits of shape {shapes}; compare networks of one task"
                    " only."
                )
        yield outputs, batch


def _in_turn(
    models: Members, data: Data, title: str, meant: Output
) -> Iterator[tuple[list[Tensor], Batch]]:
    """Every network's logits on every batch, one network after the other.

    The logits of all wait in memory, but never two networks.

    Raises:
        DataError: the data can be read only once, or come in another order when they are read
            again.
    """
    data = check_reiterable(data)
    found: list[list[Tensor]] = []  # for each member its outputs, batch by batch
    first: list[list[float]] = []  # for each batch its sums, as the first member saw it
    for k in range(len(models)):
        outputs, sums = [], []
        for (output,), batch in outputs_of([models[k]], data, f"{title} member {k}", meant):
            outputs.append(output.cpu())
            sums.append(_sums(batch))
        found.append(outputs)
        first = first or sums
        if sums != first:
            raise DataError(DISORDER)
    for position, batch in enumerate(batches(data)):
        if first[position : position + 1] != [_sums(batch)]:
            raise DataError(DISORDER)
        yield [of_member[position] for of_member in found], batch


def _sums(batch: Batch) -> list[float]:
    """Sums that tell a batch from another."""
    tensors = [
        x for x in (*batch.args, *batch.kwargs.values(), batch.labels) if isinstance(x, Tensor)
    ]
    return [float(x.nan_to_num().sum(dtype=torch.float64)) for x in tensors]


def _moved(batch: Batch, device: torch.device) -> Batch:
    def to(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    return replace(
        batch,
        args=tuple(to(x) for x in batch.args),
        kwargs={key: to(x) for key, x in batch.kwargs.items()},
    )


def check_runs(network: nn.Module, data: Data) -> None:
    """Raises DataError if `network` cannot run on the first batch of `data`."""
    with torch.no_grad(), restored_attributes(network):
        forward(network, next(batches(data, device_of(network), "calibration data")))
