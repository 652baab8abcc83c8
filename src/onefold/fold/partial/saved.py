"""Partial merges in files: the tensors, and a description from which the networks are cut again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Batch, dtype_of
from onefold.errors import OnefoldError, WeightsError
from onefold.fold.partial.module import PartialMerge, assemble, check_outputs
from onefold.fold.partial.unmerge import Unmerge
from onefold.inference import ANY, described, restored
from onefold.isolation import isolated
from onefold.symmetry import trace
from onefold.symmetry.cutting import Cutting
from onefold.symmetry.parts import piece_behind
from onefold.weights import load_into, read, save

KEY = "onefold.partial"  # of a checkpoint's metadata
MOST = 10_000  # members that are believed; a file may come from somebody else


def form_of(batch: Batch) -> Any:
    """The shapes and dtypes of a batch's inputs as plain data."""
    return {
        "args": [_form(value) for value in batch.args],
        "kwargs": {name: _form(value) for name, value in batch.kwargs.items()},
    }


@checked
def save_partial(model: PartialMerge, path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write a partial merge to `path`, as `onefold.save` does. `load_partial` reads it.

    Raises:
        OutputError: as `onefold.save`.
        WeightsError: as `onefold.save`.
    """
    return save(model, path, metadata=describe(model), force=force)


@checked
@isolated
def load_partial(
    path: str | os.PathLike[str], models: nn.Module | Sequence[nn.Module]
) -> PartialMerge:
    """The partial merge that `save_partial` wrote.

    Args:
        path: the file.
        models: a network of the members' architecture, whose weights play no part; one for each
            member if their numbers of labels differ.

    Raises:
        WeightsError: the file cannot be read, is no partial merge, or not one of this architecture.
    """
    checkpoint = read(path)
    if KEY not in checkpoint.metadata:
        raise WeightsError(f"{path} holds no partial merge; read it by onefold.load.")
    count = None if isinstance(models, nn.Module) else len(models)

    def build(k: int) -> nn.Module:
        return models if isinstance(models, nn.Module) else models[k]

    partial = rebuild(build, checkpoint.metadata, str(path), count=count)
    load_into(partial, checkpoint.tensors, str(path))
    return partial


def describe(model: PartialMerge) -> dict[str, str]:
    """Metadata from which the module can be put together again."""
    heads: Any = model.heads
    steps = [[_step(step) for step in head.unmerge] for head in heads]
    facts = {
        "until": model.until,
        "inputs": model.inputs,
        "open": _open_axes(model),
        "outputs": model.outputs,
        "shares": list(model.shares),
        "unmerge": steps,
    }
    facts |= {"output": described(model.output)} if model.output != ANY else {}
    return {KEY: json.dumps(facts)}


def rebuild(
    build: Callable[[int], nn.Module],
    metadata: Mapping[str, str],
    where: str,
    *,
    count: int | None = None,
) -> PartialMerge:
    """A partial merge as `metadata` describes it. Its weights are to be loaded.

    Args:
        build: member's number -> a network of its architecture.
        metadata: the file's metadata.
        where: the file's name, for messages.
        count: the number of members, if it is known.

    Raises:
        WeightsError: the description is damaged, or does not fit the architecture.
    """
    try:
        facts = json.loads(metadata[KEY])
        members, until = len(facts["shares"]), str(facts["until"])
        if not 2 <= members <= MOST or len(facts["unmerge"]) != members:
            raise ValueError(f"{members} members")
        if count is not None and count != members:
            raise ValueError(f"{members} members")
        args = tuple(_zeros(form) for form in facts["inputs"]["args"])
        kwargs = {str(name): _zeros(form) for name, form in facts["inputs"]["kwargs"].items()}
        axes = [(int(number), int(axis)) for number, axis in facts.get("open", ())]
        networks = [build(k) for k in range(members)]
        known: dict[int, Cutting] = {}
        for network in networks:
            if id(network) not in known:
                known[id(network)] = Cutting(trace(network, args, kwargs, axes))
        cuttings = [known[id(network)] for network in networks]
        rests = [(cutting, piece_behind(cutting, cutting.at(until))) for cutting in cuttings]
        dtype = dtype_of(networks[0])
        steps = [[_unmerge(step, dtype) for step in of_member] for of_member in facts["unmerge"]]
        states = [network.state_dict() for network in networks]
        return assemble(
            cuttings[0],
            cuttings[0].at(until),
            states[0],
            states,
            steps,
            [float(share) for share in facts["shares"]],
            rests=rests,
            outputs=check_outputs(facts["outputs"]),
            inputs=facts["inputs"],
            output=restored(facts.get("output")),
        )
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        IndexError,
        RuntimeError,
        OnefoldError,
    ) as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:150]
        raise WeightsError(
            f"{where} says that it is a partial merge, but not one of this architecture ({reason});"
            " check the network."
        ) from error


def _open_axes(model: PartialMerge) -> list[tuple[int, int]]:
    """The axes of inputs, beside the first, that may have any length."""
    shapes: Any = model.trunk.shapes
    return [
        (number, axis)
        for number, shape in enumerate(shapes)
        for axis, length in enumerate(shape or ())
        if axis and length is None
    ]


def _form(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, list | tuple):
        return [_form(x) for x in value]
    if isinstance(value, Mapping):
        return {"of": {str(name): _form(x) for name, x in value.items()}}
    return {"value": value if isinstance(value, bool | int | float | str | None) else None}


def _zeros(form: Any) -> Any:
    if isinstance(form, list):
        return tuple(_zeros(x) for x in form)
    if "shape" in form:
        dtype = getattr(torch, str(form["dtype"]))
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"dtype {form['dtype']}")
        return torch.empty([int(n) for n in form["shape"]], dtype=dtype, device="cpu")
    if "of" in form:
        return {name: _zeros(x) for name, x in form["of"].items()}
    return form["value"]


def _step(step: nn.Module) -> dict[str, Any]:
    assert isinstance(step, Unmerge)
    values = step.index if step.index is not None else step.matrix
    assert values is not None
    return {
        "place": step.place,
        "axis": step.axis,
        "after": step.after,
        "shape": list(values.shape),
    }


def _unmerge(facts: Mapping[str, Any], dtype: torch.dtype) -> Unmerge:
    shape = [int(n) for n in facts["shape"]]
    values = torch.zeros(shape, dtype=torch.long if len(shape) == 1 else dtype)
    place, axis, after = int(facts["place"]), int(facts["axis"]), int(facts["after"])
    return Unmerge(place, axis, after, **{"index" if len(shape) == 1 else "matrix": values})
