"""The texts in a document and in all of its parts, found and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from onefold.documents.part import Part

P = TypeVar("P", bound=Part)


def texts_of(part: Part) -> Iterator[tuple[Part, str, str]]:
    """Every text with the part and the key that hold it, those of lists among them."""
    for key in type(part).model_fields:
        value = getattr(part, key)
        for entry in value if isinstance(value, tuple) else (value,):
            if isinstance(entry, Part):
                yield from texts_of(entry)
            elif isinstance(entry, str):
                yield part, key, entry


def with_texts(part: P, change: Callable[[Part, str, str], str]) -> P:
    """The document with every text changed.

    Args:
        part: the document; it stays as it is.
        change: the part, the key and the text -> the new text.
    """

    def changed(key: str, value: Any) -> Any:
        if isinstance(value, Part):
            return with_texts(value, change)
        if isinstance(value, tuple):
            return tuple(changed(key, entry) for entry in value)
        return change(part, key, value) if isinstance(value, str) else value

    new = {key: changed(key, getattr(part, key)) for key in type(part).model_fields}
    return part.model_copy(
        update={key: value for key, value in new.items() if value != getattr(part, key)}
    )
