"""List all matchers, folds, repairs, kernels, sources and operator rules, each with one line."""

from __future__ import annotations

from typing import Annotated

import typer

LONG = 50  # a family of more than so many is only counted, unless it is asked for


def command(
    pattern: Annotated[
        str,
        typer.Argument(
            help="Show only what has this in its kind, name or summary; * and ? are wild."
        ),
    ] = "*",
) -> None:
    """Print the table of all registered names."""
    import importlib
    from fnmatch import fnmatch

    from onefold.cli.console import say, table
    from onefold.errors import RecipeError
    from onefold.registry import FAMILIES

    for package in (
        "symmetry",
        "alignment",
        "fold",
        "explore",
        "sources",
        "measure",
    ):  # a package fills its registries when it is imported
        importlib.import_module(f"onefold.{package}")
    wanted = f"*{pattern.lower()}*"
    rows, long = [], []
    for kind, family in sorted(FAMILIES.items()):
        found = [
            (kind, e.name, e.summary)
            for e in family
            if any(fnmatch(text.lower(), wanted) for text in (kind, e.name, e.summary))
        ]
        if pattern == "*" and len(found) > LONG:
            long.append(
                f"and {len(found)} of the kind '{kind}': onefold methods '{kind}' lists them."
            )
        else:
            rows += found
    if not rows:
        raise RecipeError(
            f"Nothing is named like '{pattern}'; run `onefold methods` to see everything."
        )
    table(("kind", "name", "summary"), rows)
    for line in long:
        say(line)
