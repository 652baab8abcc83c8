"""List all matchers, folds, repairs, kernels, sources and operator rules, each with one line."""

from __future__ import annotations

from typing import Annotated

import typer

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
    from onefold.cli.catalogue import catalogue
    from onefold.cli.console import console, say
    from onefold.cli.tables import print_table
    from onefold.errors import RecipeError
    from onefold.registry import found

    families = found(pattern, catalogue().methods)
    if not families:
        raise RecipeError(
            f"Nothing is named like '{pattern}'; run `onefold methods` to see everything."
        )
    long = [kind for kind, some in families.items() if pattern == "*" and len(some) > LONG]
    rows = [(kind, one) for kind, some in families.items() if kind not in long for one in some]
    told = [(kind, one.name, one.summary) for kind, one in rows]
    print_table(console(), ("kind", "name", "summary"), told)
    for kind in long:
        count = len(families[kind])
        say(f"and {count} of the kind '{kind}': onefold methods '{kind}' lists them.")
    if len(rows) <= FEW:
        for _, one in rows:
            say(f"\n{one.name}\n{one.value}")
