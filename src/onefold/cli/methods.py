"""List all matchers, folds, repairs, kernels, sources and operator rules, each with one line."""

from __future__ import annotations

from typing import Annotated

import typer

# A package fills its registries when it is imported.
PACKAGES = ("symmetry", "alignment", "fold", "explore", "sources", "measure")
FEW = 4  # of no more than so many the whole description is shown
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

    from onefold.cli.console import say, table
    from onefold.errors import RecipeError

    for package in PACKAGES:
        importlib.import_module(f"onefold.{package}")
    rows, counts = _listed(pattern)
    if not rows and not counts:
        raise RecipeError(
            f"Nothing is named like '{pattern}'; run `onefold methods` to see everything."
        )
    table(("kind", "name", "summary"), rows)
    for line in counts:
        say(line)
    if len(rows) <= FEW:
        for kind, name, _ in rows:
            say(f"\n{name}\n{_described(kind, name)}")


def _described(kind: str, name: str) -> str:
    """The whole docstring of an entry, as far as it is prose."""
    import inspect

    from onefold.registry import FAMILIES

    text = inspect.getdoc(FAMILIES[kind].get(name)) or ""
    return text.split("\nRaises:")[0].rstrip()


def _listed(pattern: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    """The rows to print, and a line for each family that is only counted."""
    from fnmatch import fnmatch

    from onefold.registry import FAMILIES

    wanted = f"*{pattern.lower()}*"
    rows, counts = [], []
    for kind, family in sorted(FAMILIES.items()):
        entries = [
            (kind, entry.name, entry.summary)
            for entry in family
            if any(fnmatch(text.lower(), wanted) for text in (kind, entry.name, entry.summary))
        ]
        if pattern == "*" and len(entries) > LONG:
            counts.append(
                f"and {len(entries)} of the kind '{kind}': onefold methods '{kind}' lists them."
            )
        else:
            rows += entries
    return rows, counts
