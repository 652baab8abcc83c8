"""The files that a document names: those that it reads, and the Python files among them.

A recipe may come from a stranger. Python files that it names would be run, so a recipe file that
names any is refused unless its reader trusts it, and it writes beside itself alone.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from onefold.documents.part import InputFile
from onefold.documents.texts import texts_of
from onefold.errors import OutputError, RecipeError, WeightsError
from onefold.recipe.document import DataPart, Request
from onefold.sources.names import files_in, in_name
from onefold.weights.files import files_of
from onefold.weights.paths import real_output

SHOWN = 4  # Python files that a sentence names


def inputs_of(asked: Request, file: Path | None = None) -> list[Path]:
    """Every file and folder that a document reads, the shards of an index among them.

    Args:
        asked: the document; its paths are absolute.
        file: its own file, if it is from one.
    """
    found = [file] if file else []
    for part, key, text in texts_of(asked):
        if isinstance(part, InputFile) and key == "path":
            found += _files(text)
        elif (isinstance(part, Request) and key in ("model", "data")) or (
            isinstance(part, DataPart) and key == "source"
        ):
            found += _place(text)
    return found


def _files(path: str) -> list[Path]:
    """A file, and the shards that it names if it is an index."""
    try:
        return [Path(path), *files_of(path)[0]]
    except WeightsError:
        return [Path(path)]


def _place(name: str) -> list[Path]:
    """The file or folder in the name of a model or of data, if there is one."""
    found: list[Path] = []

    def keep(path: str) -> str:
        found.append(Path(path))
        return path

    in_name(name, keep)
    return found


def python_files(content: Any) -> list[str]:
    """The Python files that the plain content of a recipe names, in their order, each once."""
    used = content.get("use") if isinstance(content, Mapping) else None
    files = [*files_in(used, paths=True), *files_in(content)]
    return list(dict.fromkeys(files))


def check_trusted(content: Any, path: Path, known: Request | None = None) -> None:
    """Refuse the content of a recipe file that would run code.

    Args:
        content: as parsed from the file.
        path: the file.
        known: a document that the user gave, whose Python files may be run.

    Raises:
        RecipeError: it names Python files.
    """
    ours = set(python_files(known.model_dump(mode="json")) if known else ())
    folder = path.resolve().parent
    files = [one for one in python_files(content) if os.path.normpath(folder / one) not in ours]
    if files:
        more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        raise RecipeError(
            f"The recipe {path} runs the code of {', '.join(files[:SHOWN])}{more}; read it, and"
            " give --trust (trust=True) if you trust it."
        )


def check_below(recipe: Request, path: Path, given: Collection[str] = ()) -> None:
    """Refuse outputs that a recipe file puts elsewhere than beside or below itself.

    Args:
        recipe: the recipe, with absolute paths.
        path: the file.
        given: the keys of outputs that are not from the file.

    Raises:
        OutputError: there is one.
    """
    folder = os.path.realpath(path.resolve().parent)
    for name in ("output", "html"):
        place = None if name in given else getattr(recipe, name, None)
        if place is not None and not real_output(place).is_relative_to(folder):
            raise OutputError(
                f"The recipe {path} would write {place}, which is not below its own folder; give"
                " the output with -o."
            )
