"""Every key of every document answers a value of a wrong type with one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from onefold.documents.part import InputFile
from onefold.documents.problems import part_of
from onefold.documents.reading import checked
from onefold.documents.settings import OneOf, keys_of
from onefold.errors import RecipeError
from onefold.recipe.document import Document
from onefold.recipe.merge.document import ALIGN, FOLD, Recipe
from onefold.recipe.persist.document import PersistRecipe
from onefold.recipe.soft.document import SoftRecipe
from onefold.recipe.subspace.document import SubspaceRecipe

FILES = {"model": "digits", "members": ["a", "b"], "data": {"source": "sklearn:digits"}}
TRAINED = {"model": "digits", "data": {"source": "sklearn:digits"}, "training": {"epochs": 1}}
SOUND: dict[type[Document], dict[str, Any]] = {
    Recipe: FILES,
    SoftRecipe: FILES,
    SubspaceRecipe: TRAINED,
    PersistRecipe: TRAINED,
}
WRONG = {"null": None, "list": [{}], "keys": {"nonsense": 1}, "text": "words", "number": -1.5}
FILE_KEYS = ("file", *InputFile.model_fields)
ONE = {"align": "cca", "fold": "least_squares"}  # an entry for the keys beside `name`


def keys(kind: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a document, those inside its parts and registered dataclasses too."""
    for name, field in kind.model_fields.items():
        yield (*path, name)
        part = part_of(field.annotation)
        if part is not None and name != "members":
            yield from keys(part, (*path, name))
        if one_of := next((entry for entry in field.metadata if isinstance(entry, OneOf)), None):
            yield (*path, name, "name")
            yield from keys(keys_of(one_of.registry.get(ONE[name])), (*path, name))


def takes(kind: type[BaseModel], path: tuple[str, ...], value: object) -> bool:
    """Whether the type of a key allows such a value at all."""
    for name in path[:-1]:
        field = kind.model_fields[name]
        one_of = any(isinstance(entry, OneOf) for entry in field.metadata)
        if one_of and path[-1] not in FILE_KEYS:
            registry = FOLD.registry if name == "fold" else ALIGN.registry
            kind = keys_of(registry.get(ONE[name]))
        else:
            kind = part_of(field.annotation) or kind
    field = kind.model_fields.get(path[-1])
    if field is None:  # the name of a registered entry
        return False
    text = repr(field.annotation)
    main = getattr(part_of(field.annotation), "main", None)
    if value is None:
        return any(word in text for word in ("None", "Optional", "Any"))
    if isinstance(value, str):
        return "str" in text or "Path" in text or main in ("path", "source", "select")
    return isinstance(value, float) and "float" in text


CASES = [
    pytest.param(kind, path, wrong, id=f"{kind.command}-{'.'.join(path)}-{wrong}")
    for kind in SOUND
    for path in keys(kind)
    for wrong in WRONG
]


@pytest.mark.parametrize(("kind", "path", "wrong"), CASES)
def test_a_value_of_a_wrong_type_is_told_in_one_sentence(
    kind: type[Document], path: tuple[str, ...], wrong: str
) -> None:
    content: dict[str, Any] = {
        name: dict(value) if isinstance(value, dict) else value
        for name, value in SOUND[kind].items()
    }
    inner = content
    for name in path[:-1]:
        start = {"name": ONE[name]} if name in ONE and path[-1] not in FILE_KEYS else {}
        inner[name] = inner.get(name) if isinstance(inner.get(name), dict) else start
        inner = inner[name]
    inner[path[-1]] = WRONG[wrong]
    try:
        checked(kind, content, "The recipe")
    except RecipeError as error:
        text = str(error)
        assert "\n" not in text
        assert text.startswith("The recipe")
        assert text.endswith((".", "?"))
    else:
        assert takes(kind, path, WRONG[wrong]), "it was taken"


def test_all_documents_are_walked() -> None:
    assert {case.values[0] for case in CASES} == set(SOUND)
    assert len(CASES) > 500
