"""Values that no tensor ever gets, as each model or slice has a nearer one for all tensors."""

from __future__ import annotations

from collections.abc import Iterator

from onefold.checkpoints.document.content import Document, Parameters
from onefold.checkpoints.document.parameters import Values
from onefold.checkpoints.document.slices import parts_of, with_base
from onefold.documents.problems import Keys


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
            shared = [one.name for one in values.shared]
            merged = {one.model for one in values.part.inputs if values.merges(one.model)}
            for name in own:
                for model in merged:
                    reached.update(_reached(name, values.placed_levels(model)))
            for name in shared:
                reached.update(_reached(name, values.placed_levels()))
            for at, level in values.placed_levels():
                names = [name for name in level if name in own or name in shared]
                given.update(dict.fromkeys((*at, name) for name in names))
    return [at for at in given if at not in reached]


def _reached(name: str, levels: Iterator[tuple[Keys, Parameters]]) -> Iterator[Keys]:
    """The places that are asked for a parameter, up to the first that has it for all tensors."""
    for at, level in levels:
        yield (*at, name)
        if any(entry.filter is None and entry.value != () for entry in level.get(name, ())):
            return
