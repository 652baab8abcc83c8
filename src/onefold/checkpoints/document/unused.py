"""Values that no tensor ever gets, as each model or slice has a nearer one for all tensors."""

from __future__ import annotations

from collections.abc import Iterator

from onefold.checkpoints.document.content import Document, Module, Parameters, Reference, Slice
from onefold.checkpoints.document.parameters import Values
from onefold.checkpoints.document.slices import parts_of, with_base
from onefold.documents.problems import Keys

Level = tuple[Keys, Parameters]


def unused_values(document: Document) -> list[Keys]:
    """The places of values that nearer ones hide everywhere.

    Args:
        document: a document that was checked.
    """
    given: dict[Keys, None] = {}
    reached: set[Keys] = set()
    for module in document.modules:
        for part in parts_of(module):
            values = Values(document, module, with_base(document, part))
            own = [one.name for one in values.per_model]
            merged = [one.model for one in values.part.inputs if values.merges(one.model)]
            for name in own:
                for model in merged:
                    reached.update(_reached(name, _levels(document, module, values.part, model)))
            for one in values.shared:
                reached.update(_reached(one.name, _levels(document, module, values.part, None)))
            for at, level in _levels(document, module, part, None):
                known = {*own, *(one.name for one in values.shared)}
                given.update(dict.fromkeys((*at, name) for name in level if name in known))
    return [at for at in given if at not in reached]


def _levels(
    document: Document, module: Module, part: Slice, model: Reference | None
) -> Iterator[Level]:
    """The levels of a slice, or of one model in it, from the highest precedence."""
    for one in part.inputs:
        if model is not None and one.model == model:
            yield (*one.at, "parameters"), one.parameters
    yield (*part.at, "parameters"), part.parameters
    yield (*module.at, "parameters"), module.parameters
    yield ("parameters",), document.parameters


def _reached(name: str, levels: Iterator[Level]) -> Iterator[Keys]:
    """The places that are asked for a parameter, up to the first that has it for all tensors."""
    for at, level in levels:
        yield (*at, name)
        if any(entry.filter is None and entry.value != () for entry in level.get(name, ())):
            return
