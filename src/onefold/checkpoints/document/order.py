"""Documents that refer to one another: what is merged first, and what goes round in a circle."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from onefold.checkpoints.document.content import Document, Reference
from onefold.documents.problems import Keys

SHOWN = 8  # documents of a circle in a message


def needed_by(document: Document, names: Collection[str]) -> dict[str, Keys]:
    """The documents that one refers to, in its order, each with the key that names it first.

    Args:
        document: the document.
        names: the names of all documents.
    """
    found: dict[str, Keys] = {}
    for reference, at in document.references():
        if reference.place.path in names:
            found.setdefault(reference.place.path, at)
    return found


def stands_for(reference: Reference, documents: Sequence[Document]) -> Document | None:
    """The document whose result a reference means; None: a folder or a name."""
    path = reference.place.path
    return next((one for one in documents if one.name is not None and one.name == path), None)


def in_order(documents: Sequence[Document]) -> tuple[Document, ...]:
    """The documents so that each comes after those that it refers to; the unnamed one is last.

    Raises:
        RecipeError: a name is given twice, two documents have none, or they refer to one another
            in a circle.
    """
    named: dict[str | None, Document] = {}
    for document in documents:
        if document.name in named:
            if document.name is None:
                raise document.error(
                    (),
                    "of several documents all but one need a 'name', by which the others refer to"
                    " their results",
                )
            raise document.error(("name",), f"another document has the name '{document.name}' too")
        named[document.name] = document
    names = dict.fromkeys(name for name in named if name is not None)
    for document in documents:
        for needed, at in needed_by(document, names).items():
            reference = next(r for r, where in document.references() if where == at)
            if reference.place.revision is not None:
                raise document.error(
                    at, f"'{needed}' is the result of another document, which has no revisions"
                )
    done: dict[str | None, Document] = {}
    for name in [*names, *([None] if None in named else [])]:
        _add(name, named, names, done, [])
    return tuple(done.values())


def _add(
    name: str | None,
    named: dict[str | None, Document],
    names: Collection[str],
    done: dict[str | None, Document],
    above: list[str | None],
) -> None:
    if name in done:
        return
    document = named[name]
    for needed, at in needed_by(document, names).items():
        if needed in (*above, name):
            way = [*above, name]
            circle = [str(one) for one in way[way.index(needed) :]]
            if len(circle) > SHOWN:
                circle = [*circle[: SHOWN - 1], "..."]
            raise document.error(
                at,
                f"'{needed}' is made from itself: {' -> '.join([*circle, needed])}; give one of"
                " them another model",
            )
        _add(needed, named, names, done, [*above, name])
    done[name] = document
