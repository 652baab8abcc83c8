"""Documents as files: read, checked with one sentence for what is wrong, written; relative paths in
files, absolute ones in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from onefold.errors import RecipeError, nearest
from onefold.recipe.document import DataPart, Document, InputFile, Job, Part

HEADER = "# A recipe of onefold. Make its result again with: onefold {command} {name} -o {again}\n"


# keys that only the recipes of these commands have
COMMANDS = {
    "soft": ["soft"],
    "subspace": ["subspace"],
    "rounds": ["persist"],
    "training": ["subspace", "persist"],
}


FOLDER_SOURCES = ("parquet", "idx", "imagefolder", "hf")  # sources whose name is followed by a path


Asked = TypeVar("Asked", bound=Document)


def read_as(kind: type[Asked], path: str | Path) -> Asked:
    """The recipe of this kind in the YAML file `path`, with absolute paths.

    Raises:
        RecipeError: the file cannot be read, is not YAML, or does not hold a valid recipe; the
            message names the file and the key.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"The recipe {path} cannot be read: {getattr(error, 'strerror', None) or error}; check"
            " the path."
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(
            f"The recipe {path} is no valid YAML{where}:"
            f" {getattr(error, 'problem', None) or 'it cannot be parsed'}."
        ) from error
    folder = path.resolve().parent
    others = next(
        (
            commands
            for key, commands in COMMANDS.items()
            if isinstance(content, Mapping) and key in content
        ),
        ["merge"],
    )
    if isinstance(content, Mapping) and kind.command not in others:
        raise RecipeError(
            f"The recipe {path} is one of onefold {others[0]}; run: onefold {others[0]} {path}"
        )
    return _with_paths(
        check_as(kind, content, f"The recipe {path}"),
        lambda name: os.path.normpath(folder / Path(name).expanduser()),
    )


Checked = TypeVar("Checked", bound=Part)


def check_as(kind: type[Asked], content: object, what: str) -> Asked:
    """`content` as a recipe of this kind; errors as `check`."""
    return checked(kind, content, what)


def check_data(content: Mapping[str, object]) -> DataPart:
    """A data source and part by itself, as flags name it. Raises RecipeError where it is none."""
    return checked(DataPart, content, "The data")


def checked(kind: type[Checked], content: object, what: str) -> Checked:
    if not isinstance(content, Mapping):
        raise RecipeError(
            f"{what} holds {'nothing' if content is None else f'a {type(content).__name__}'}, not"
            " keys and values; see the README."
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = min(
            error.errors(), key=lambda one: one["type"] != "extra_forbidden"
        )  # a misspelt key explains a missing one
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise RecipeError(
                f"{what} has an unknown key '{key}';"
                f" {nearest(str(first['loc'][-1]), _fields(kind, first['loc'][:-1]))}"
            ) from None
        if first["type"] == "missing":
            raise RecipeError(f"{what} lacks the key '{key}'; add it.") from None
        plain = {
            "model_type": "it must hold keys and values",
            "too_short": f"it needs at least {first.get('ctx', {}).get('min_length')} entries",
        }
        reason = (
            plain.get(first["type"], str(first["msg"])).removeprefix("Value error, ").rstrip(".")
        )
        found = (
            f" (found: {first['input']!r})"
            if key and isinstance(first["input"], str | int | float | None)
            else ""
        )
        raise RecipeError(
            f"{what}{f', key {key!r}' if key else ''}: {reason[:1].lower() + reason[1:]}{found}."
        ) from None


def text_of(recipe: Document, path: str | Path) -> str:
    """The YAML text of `recipe` for a file at `path`: the same recipe always gives the same bytes;
    paths relative to the file's folder.
    """
    path = Path(path)
    content = relative(recipe, path.resolve().parent).model_dump(mode="json")
    head = HEADER.format(command=recipe.command, name=path.name, again=recipe.again)
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)


def absolute(recipe: Asked, folder: str | Path | None = None) -> Asked:
    """`recipe` with its relative paths taken as relative to `folder` (default: the working folder)."""
    base = Path(folder or ".").resolve()
    return _with_paths(recipe, lambda name: os.path.normpath(base / Path(name).expanduser()))


def relative(recipe: Asked, folder: str | Path) -> Asked:
    """`recipe` with its absolute paths as seen from `folder`."""
    return _with_paths(recipe, lambda name: os.path.relpath(name, folder))


def _fields(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The known keys at a place in the document."""
    for part in location:
        if isinstance(part, str) and part in kind.model_fields:
            kind = _inner(kind.model_fields[part].annotation) or kind
    return list(kind.model_fields)


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as `DataPart | None` or `tuple[InputFile, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner(part))), None)


D = TypeVar("D", bound=DataPart)


def _with_paths(recipe: Asked, rename: Callable[[str], str]) -> Asked:
    """`recipe` with every path in it, also those inside model and data names, replaced by
    `rename(path)`.
    """

    def data(part: D) -> D:
        return part.model_copy(update={"source": in_name(part.source, rename)})

    def file(part: InputFile) -> InputFile:
        return part.model_copy(update={"path": rename(part.path)})

    changed: dict[str, Any] = {"model": in_name(recipe.model, rename)}
    changed |= {
        name: rename(path) for name in ("output", "html") if (path := getattr(recipe, name, None))
    }
    if isinstance(recipe, Job):
        changed["members"] = tuple(file(member) for member in recipe.members)
    changed |= {
        name: data(part)
        for name in type(recipe).model_fields
        if isinstance(part := getattr(recipe, name), DataPart)
    }
    changed |= recipe.further_paths(file)
    return recipe.model_copy(update=changed)


def in_name(name: str, rename: Callable[[str], str]) -> str:
    """Rename the path in `parquet:DIR?options`, `hf:DIR?options` or `FILE.py:factory?options`;
    other names hold none.
    """
    head, colon, tail = name.partition(":")
    if colon and head in FOLDER_SOURCES:
        path, mark, options = tail.partition("?")
        return f"{head}:{rename(path)}{mark}{options}"
    return f"{rename(head)}:{tail}" if colon and head.endswith(".py") else name
