"""`onefold methods`: everything that can be named in a command or a recipe."""

from __future__ import annotations

from typing import Annotated

import typer


def methods(pattern: Annotated[str, typer.Argument(help="Show only what has this in its kind, name or summary; * and ? are wild.")] = "*") -> None:
    """List all matchers, folds, repairs, sources and operator rules, each with one line."""
    import importlib
    from fnmatch import fnmatch

    from onefold.cli.console import table
    from onefold.errors import RecipeError
    from onefold.registry import FAMILIES

    for room in ("symmetry", "alignment", "fold", "sources", "measure"):  # a room fills its registries when it is imported
        importlib.import_module(f"onefold.{room}")
    wanted = f"*{pattern.lower()}*"
    rows = [
        (kind, entry.name, entry.summary)
        for kind, family in sorted(FAMILIES.items())
        for entry in family
        if any(fnmatch(text.lower(), wanted) for text in (kind, entry.name, entry.summary))
    ]
    if not rows:
        raise RecipeError(f"Nothing is named like '{pattern}'; run `onefold methods` to see everything.")
    table(("kind", "name", "what it does"), rows)
