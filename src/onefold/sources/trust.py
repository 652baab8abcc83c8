"""Documents that would run code: the Python files that they name.

A document may come from a stranger. Python files that it names would be run, so a file that names
any is refused unless its reader trusts it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onefold.documents.part import Part
from onefold.errors import RecipeError
from onefold.sources.names import files_in

SHOWN = 4  # Python files that a sentence names


def python_files(content: Any) -> list[str]:
    """The Python files that the plain content of a recipe names, in their order, each once."""
    used = content.get("use") if isinstance(content, Mapping) else None
    files = [*files_in(used, paths=True), *files_in(content)]
    return list(dict.fromkeys(files))


def check_trusted(content: Any, path: Path, known: Part | None = None) -> None:
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
