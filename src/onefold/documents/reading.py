"""Documents read from YAML files, and checked against their classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from yaml.reader import ReaderError

from onefold.documents.part import Part
from onefold.documents.problems import Source, problem_of
from onefold.documents.yaml_text import NotPlain, PlainData, Twice, plain_data, plain_documents
from onefold.errors import RecipeError
from onefold.weights.paths import check_ordinary

LONGEST = 2**20  # bytes of a document

P = TypeVar("P", bound=Part)


def parsed(text: str) -> Any:
    """YAML text as plain data. Raises yaml.YAMLError."""
    return plain_data(text).content


def read_yaml(path: Path, what: str) -> PlainData:
    """What a YAML file holds, with the line of every key.

    Args:
        path: the file.
        what: the beginning of the messages.

    Raises:
        RecipeError: the file cannot be read, is too long, or holds no YAML of plain data.
    """
    text = text_of_file(path, what)
    try:
        return plain_data(text)
    except yaml.YAMLError as error:
        raise _no_yaml(error, what) from error


def yaml_documents(text: str, what: str, twice: Twice | None = None) -> list[PlainData]:
    """What a text of one or several YAML documents holds, with the line of every key.

    Args:
        text: the text.
        what: the beginning of the messages.
        twice: as of `plain_documents`.

    Raises:
        RecipeError: it is no YAML of plain data.
    """
    try:
        return plain_documents(text, twice)
    except yaml.YAMLError as error:
        raise _no_yaml(error, what) from error


def checked(kind: type[P], content: object, source: str | Source) -> P:
    """`content` as a part or document of this kind.

    Args:
        kind: the class.
        content: keys and values.
        source: where they are from, or the beginning of the messages alone.

    Raises:
        RecipeError: it is no such document; the message names the key.
    """
    source = Source(source) if isinstance(source, str) else source
    if not isinstance(content, Mapping):
        held = "nothing" if content is None else f"a {type(content).__name__}"
        raise RecipeError(f"{source.what} holds {held}, not keys and values; see the README.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise source.error(problem_of(error, kind)) from None


def text_of_file(path: Path, what: str) -> str:
    """The text of a document's file.

    Raises:
        RecipeError: it cannot be read, is no text, or is too long.
    """
    try:
        check_ordinary(path)
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{what} is no text in UTF-8 (byte {error.start}); save it as that."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"{what} cannot be read: {reason}; check the path.") from error
    if len(content) > LONGEST:
        raise RecipeError(
            f"{what} has more than {LONGEST:,} bytes, so it is no recipe; check the path."
        )
    return text


def _no_yaml(error: yaml.YAMLError, what: str) -> RecipeError:
    mark = getattr(error, "problem_mark", None)
    reason = " ".join(str(getattr(error, "problem", None) or "it cannot be parsed").split())
    if isinstance(error, NotPlain) and mark is not None:
        return RecipeError(f"{what}, line {mark.line + 1}: {reason}.")
    if isinstance(error, ReaderError):
        where, reason = "", f"it holds the character {error.character!r}"
    else:
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return RecipeError(f"{what} is no valid YAML{where}: {reason}.")
