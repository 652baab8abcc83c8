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
    from onefold.registry import description, found
    from onefold.report import Column, Table

    for package in PACKAGES:
        importlib.import_module(f"onefold.{package}")
    families = found(pattern)
    if not families:
        raise RecipeError(
            f"Nothing is named like '{pattern}'; run `onefold methods` to see everything."
        )
    long = [kind for kind, some in families.items() if pattern == "*" and len(some) > LONG]
    rows = [(kind, one) for kind, some in families.items() if kind not in long for one in some]
    columns = tuple(Column(name=name) for name in ("kind", "name", "summary"))
    table(Table(columns=columns, rows=tuple((kind, one.name, one.summary) for kind, one in rows)))
    for kind in long:
        count = len(families[kind])
        say(f"and {count} of the kind '{kind}': onefold methods '{kind}' lists them.")
    if len(rows) <= FEW:
        for _, one in rows:
            say(f"\n{one.name}\n{description(one)}")
