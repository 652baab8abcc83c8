"""The tensors that a document writes: names, and where each of them comes from.

A document that lists models writes the tensors of its base, or else of the model that is listed
first. A document that lists slices writes the layers of its slices one after the other. What
stands before the layers (embeddings) is that of the first slice, everything else (the last norm,
heads) that of the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from onefold.checkpoints.document import Document, Module, Reference, Slice, position, slices_of
from onefold.checkpoints.document.parameters import OUTSIDE
from onefold.checkpoints.layouts import Layout, Stack
from onefold.checkpoints.layouts.layers import layer_of
from onefold.checkpoints.layouts.vocabulary import is_embedding
from onefold.errors import MembersError

BEFORE = ("embed", "wpe", "patch", "cls_token", "pos_", "position", "stem", "rotary")


@dataclass(frozen=True)
class Output:
    """One tensor that is written.

    Attributes:
        name: its name there.
        part: the slice that it belongs to.
        place: where gradients are read, from 0 to 1.
        names: its name in each model of the slice.
        decider: the model whose tensor it is where others lack it.
    """

    name: str
    part: Slice
    place: float
    names: Mapping[Reference, str]
    decider: Reference


def decider_of(document: Document, part: Slice) -> Reference:
    """The model whose tensors decide what is written: the base, or the first one that is listed."""
    base = document.base_of(part)
    models = [one.model for one in part.inputs]
    return base if base is not None and base in models else models[0]


def parts_in(
    document: Document, layouts: Mapping[Reference, Layout]
) -> tuple[Module, tuple[Slice, ...]]:
    """The module of a document and its slices, checked against the models.

    Raises:
        MembersError: the document names several modules.
        RecipeError: a range of layers does not exist.
    """
    if len(document.modules) > 1:
        names = ", ".join(module.name for module in document.modules)
        raise MembersError(
            f"The document merges several modules ({names}), and only one is merged here; write"
            " 'models' for all tensors, with filters for what differs."
        )
    module = document.modules[0]
    counts = {reference: layout.layers for reference, layout in layouts.items()}
    prefixes = {None if one.main is None else one.main.prefix for one in layouts.values()}
    if not module.slices and len(prefixes) > 1:  # what is not of one kind is told by the tensors
        counts = dict.fromkeys(counts, 0)
    return module, slices_of(document, module, counts)


def outputs_of(
    document: Document, parts: tuple[Slice, ...], layouts: Mapping[Reference, Layout]
) -> Iterator[Output]:
    """All tensors that are written, in the order of the deciding models' files.

    Raises:
        MembersError: a model of a slice has no layers.
    """
    if not document.modules[0].slices:
        yield from _whole(document, parts[0], layouts)
        return
    mains = {model: main for model, layout in layouts.items() if (main := layout.main) is not None}
    for part in parts:
        for one in part.inputs:
            if one.model not in mains:
                raise MembersError(
                    f"{one.model} has no layers, as no names of its tensors count up from 0; merge"
                    " it with 'models' in place of 'slices'."
                )
    first = mains[decider_of(document, parts[0])].name
    yield from _outside(document, parts[0], layouts, mains, before=True)
    number = 0
    for part in parts:
        for offset in range(_length(part)):
            yield from _layer(document, part, offset, first, number, layouts, mains)
            number += 1
    yield from _outside(document, parts[-1], layouts, mains, before=False)


def written_layers(parts: tuple[Slice, ...]) -> int:
    """The number of layers that slices write."""
    return sum(_length(part) for part in parts)


def _whole(
    document: Document, part: Slice, layouts: Mapping[Reference, Layout]
) -> Iterator[Output]:
    decider = decider_of(document, part)
    layout = layouts[decider]
    for name in layout.tensors:
        names = {one.model: name for one in part.inputs}
        yield Output(name, part, place_of(name, layout), names, decider)


def place_of(name: str, layout: Layout) -> float:
    """Where a tensor of a whole model reads gradients, from 0 to 1."""
    found = layer_of(name, layout.stacks)
    return OUTSIDE if found is None else position(found[1], found[0].layers)


def _length(part: Slice) -> int:
    low, high = part.inputs[0].layers or (0, 0)
    return high - low


def _layer(
    document: Document,
    part: Slice,
    offset: int,
    named: Callable[[int, str], str],
    number: int,
    layouts: Mapping[Reference, Layout],
    mains: Mapping[Reference, Stack],
) -> Iterator[Output]:
    decider = decider_of(document, part)
    starts = {one.model: (one.layers or (0, 0))[0] for one in part.inputs}
    main, layer = mains[decider], starts[decider] + offset
    place = position(offset, _length(part))
    for name in layouts[decider].tensors:
        found = layer_of(name, {main.prefix: main})
        if found is None or found[1] != layer:
            continue
        ending = found[2]
        names = {m: mains[m].name(start + offset, ending) for m, start in starts.items()}
        yield Output(named(number, ending), part, place, names, decider)


def _outside(
    document: Document,
    part: Slice,
    layouts: Mapping[Reference, Layout],
    mains: Mapping[Reference, Stack],
    before: bool,
) -> Iterator[Output]:
    decider = decider_of(document, part)
    main = mains[decider]
    for name in layouts[decider].tensors:
        if layer_of(name, {main.prefix: main}) is None and _is_before(name) is before:
            yield Output(name, part, OUTSIDE, {one.model: name for one in part.inputs}, decider)


def _is_before(name: str) -> bool:
    """Whether a tensor outside of the layers stands before them, as far as its name tells."""
    return is_embedding(name) or any(part in name.lower() for part in BEFORE)
