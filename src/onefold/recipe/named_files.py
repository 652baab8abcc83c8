"""The files that a document reads, and where one from a file may write.

A recipe may come from a stranger, so it writes beside itself alone (and runs no code: trust.py of
`sources`).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from onefold.documents.part import InputFile
from onefold.documents.texts import texts_of
from onefold.errors import OutputError
from onefold.recipe.document import DataPart, Request
from onefold.sources.class_names import class_file
from onefold.sources.names import place_in
from onefold.weights.files import with_shards
from onefold.weights.paths import real_output


def inputs_of(asked: Request, file: Path | None = None) -> list[Path]:
    """Every file and folder that a document reads, the shards of an index among them.

    Args:
        asked: the document; its paths are absolute.
        file: its own file, if it is from one.
    """
    found = [file] if file else []
    for part, key, text in texts_of(asked):
        if isinstance(part, InputFile) and key == "path":
            found += with_shards(text)
        elif (isinstance(part, Request) and key in ("model", "data")) or (
            isinstance(part, DataPart) and key == "source"
        ):
            places = place_in(text)
            names = class_file(text, places[0].expanduser() if places else None)
            found += places if names is None else [*places, names]
    return found


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
