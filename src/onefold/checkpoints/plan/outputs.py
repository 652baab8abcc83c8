"""The tensors that a document writes: names, and where each of them comes from.

A document that lists models writes the tensors of its base, or else of the model that is listed
first. A document that lists slices writes the layers of its slices one after the other. What
stands before the layers (embeddings) is that of the first slice, everything else (the last norm,
heads) that of the last one.

A document that lists modules does so for the tensors of each of them. Everything that is in none of
them is copied from the base, or else from the model that is listed first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onefold.checkpoints.document import Document, Module, Reference, Slice, position, slices_of
from onefold.checkpoints.document.content import WHOLE
from onefold.checkpoints.document.parameters import OUTSIDE
from onefold.checkpoints.document.slices import parts_of, with_base
from onefold.checkpoints.layouts import Layout, Stack
from onefold.checkpoints.layouts.layers import layer_of
from onefold.checkpoints.layouts.vocabulary import is_embedding
from onefold.checkpoints.plan.components import component_regions
from onefold.checkpoints.plan.prefixes import whole_regions
from onefold.checkpoints.plan.regions import Region, regions_of
from onefold.errors import MembersError

BEFORE = ("embed", "wpe", "patch", "cls_token", "pos_", "position", "stem", "rotary")
Regions = Mapping[Reference, Region]


@dataclass(frozen=True)
class Output:
    """One tensor that is written.

    Attributes:
        name: its name there.
        part: the slice that it belongs to; None: it is in no module, and copied.
        place: where gradients are read, from 0 to 1.
        names: its name in each model of the slice.
        decider: the model whose tensor it is where others lack it.
    """

    name: str
    part: Slice | None
    place: float
    names: Mapping[Reference, str]
    decider: Reference


@dataclass(frozen=True)
class Merged:
    """A module with what its models hold of it.

    Attributes:
        module: the module.
        parts: its slices, checked against the models.
        regions: its tensors in each model that is merged in it.
    """

    module: Module
    parts: tuple[Slice, ...]
    regions: Regions

    @property
    def layers(self) -> int | None:
        """The number of layers that slices write; None: those of the models."""
        return sum(map(_length, self.parts)) if self.module.slices else None


def decider_of(document: Document, part: Slice) -> Reference:
    """The model whose tensors decide what is written: the base, or the first one that is listed."""
    base = document.base_of(part)
    models = [one.model for one in part.inputs]
    return base if base is not None and base in models else models[0]


def merged_modules(document: Document, layouts: Mapping[Reference, Layout]) -> tuple[Merged, ...]:
    """The modules of a document and their slices, checked against the models.

    Raises:
        MembersError: the tensors of a module cannot be told.
        RecipeError: a range of layers does not exist.
    """
    named = [module.name for module in document.modules]
    found = component_regions(document, layouts)
    if named == [WHOLE]:
        module = document.modules[0]
        decider = decider_of(document, with_base(document, parts_of(module)[0]))
        return (_merged(document, module, whole_regions(layouts, decider)),)
    members = {
        module.name: dict.fromkeys(
            one.model for part in parts_of(module) for one in with_base(document, part).inputs
        )
        for module in document.modules
    }
    if found is None:
        found = {
            model: regions_of(model, layout, named, [n for n in named if model in members[n]])
            for model, layout in layouts.items()
        }
    return tuple(
        _merged(document, one, {model: found[model][one.name] for model in members[one.name]})
        for one in document.modules
    )


def donor_of(document: Document, merged: tuple[Merged, ...]) -> Reference:
    """The model whose files and further tensors are copied."""
    if merged[0].module.name != WHOLE and document.base is not None:
        return document.base
    return decider_of(document, merged[0].parts[0])


def outputs_of(
    document: Document, merged: tuple[Merged, ...], layouts: Mapping[Reference, Layout]
) -> Iterator[Output]:
    """All tensors that are written, in the order of the deciding models' files.

    Raises:
        MembersError: a model of a slice has no layers.
    """
    donor = donor_of(document, merged)
    if merged[0].module.name == WHOLE:
        yield from _module(document, merged[0], donor)
        return
    found: dict[str, Output] = {}
    for one in merged:
        found.update((output.name, output) for output in _module(document, one, donor))
    dropped = {name for one in merged for name in _left_by_slices(one, donor)}
    names = layouts[donor].tensors
    ordered = [name for name in names if name in found or name not in dropped]
    for name in [*ordered, *(name for name in found if name not in names)]:
        yield found.get(name) or Output(name, None, OUTSIDE, {donor: name}, donor)


def _merged(document: Document, module: Module, regions: Regions) -> Merged:
    counts = {model: region.layers for model, region in regions.items()}
    prefixes = {None if one.main is None else one.main.prefix for one in regions.values()}
    component = any(one.prefix.endswith("/") for one in regions.values())
    if not module.slices and (component or len(prefixes) > 1):  # told by the tensors
        counts = dict.fromkeys(counts, 0)
    return Merged(module, slices_of(document, module, counts), regions)


def _module(document: Document, merged: Merged, donor: Reference) -> Iterator[Output]:
    """The tensors of one module, named as in the donor if that has the module."""
    parts, regions = merged.parts, merged.regions
    if not merged.module.slices:
        yield from _whole(document, parts[0], regions, donor)
        return
    mains = {model: main for model, region in regions.items() if (main := region.main) is not None}
    for part in parts:
        for one in part.inputs:
            if one.model not in mains:
                raise MembersError(
                    f"{one.model} has no layers, as no names of its tensors count up from 0; merge"
                    " it with 'models' in place of 'slices'."
                )
    naming = donor if donor in mains else decider_of(document, parts[0])
    yield from _outside(document, parts[0], regions, mains, naming, before=True)
    number = 0
    for part in parts:
        for offset in range(_length(part)):
            yield from _layer(document, part, offset, naming, number, regions, mains)
            number += 1
    yield from _outside(document, parts[-1], regions, mains, naming, before=False)


def _left_by_slices(merged: Merged, donor: Reference) -> Iterator[str]:
    """The layers of the donor that slices put others in place of."""
    region = merged.regions.get(donor)
    if merged.module.slices and region is not None and region.main is not None:
        stacks = {region.main.prefix: region.main}
        for inner, name in region.inner.items():
            if layer_of(inner, stacks) is not None:
                yield name


def _whole(document: Document, part: Slice, regions: Regions, donor: Reference) -> Iterator[Output]:
    decider = decider_of(document, part)
    region = regions[decider]
    naming = regions.get(donor, region)
    for inner in region.inner:
        found = layer_of(inner, region.stacks)
        place = OUTSIDE if found is None else position(found[1], found[0].layers)
        names = {one.model: regions[one.model].name(inner) for one in part.inputs}
        yield Output(naming.name(inner), part, place, names, decider)


def _length(part: Slice) -> int:
    low, high = part.inputs[0].layers or (0, 0)
    return high - low


def _layer(
    document: Document,
    part: Slice,
    offset: int,
    naming: Reference,
    number: int,
    regions: Regions,
    mains: Mapping[Reference, Stack],
) -> Iterator[Output]:
    decider = decider_of(document, part)
    starts = {one.model: (one.layers or (0, 0))[0] for one in part.inputs}
    main, layer = mains[decider], starts[decider] + offset
    place = position(offset, _length(part))
    for inner in regions[decider].inner:
        found = layer_of(inner, {main.prefix: main})
        if found is None or found[1] != layer:
            continue
        ending = found[2]
        names = {
            model: regions[model].name(mains[model].name(start + offset, ending))
            for model, start in starts.items()
        }
        written = regions[naming].name(mains[naming].name(number, ending))
        yield Output(written, part, place, names, decider)


def _outside(
    document: Document,
    part: Slice,
    regions: Regions,
    mains: Mapping[Reference, Stack],
    naming: Reference,
    before: bool,
) -> Iterator[Output]:
    decider = decider_of(document, part)
    main = mains[decider]
    for inner in regions[decider].inner:
        if layer_of(inner, {main.prefix: main}) is None and _is_before(inner) is before:
            names = {one.model: regions[one.model].name(inner) for one in part.inputs}
            yield Output(regions[naming].name(inner), part, OUTSIDE, names, decider)


def _is_before(name: str) -> bool:
    """Whether a tensor outside of the layers stands before them, as far as its name tells."""
    return is_embedding(name) or any(part in name.lower() for part in BEFORE)
