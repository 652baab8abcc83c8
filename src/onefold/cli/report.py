"""Turn a report for machines, REPORT.json, into one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    source: Annotated[
        Path, typer.Argument(help="A .report.json written by onefold.", metavar="REPORT.json")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The page to write (default: the same name with .html)."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the page if it exists.")] = False,
) -> None:
    """Write the page."""
    from onefold.cli.console import say
    from onefold.errors import DataError
    from onefold.weights import check_apart, check_ordinary

    try:
        check_ordinary(source)
        text = source.read_bytes()
    except OSError as error:
        raise DataError(
            f"The report {source} cannot be read: {error.strerror}; check the path."
        ) from error
    from onefold.report import Report  # which imports torch: after a mistake has been told

    target = output or source.with_suffix(".html")
    check_apart([target], [source])
    Report.from_json(text).save(target, force=force)
    say(f"Wrote {target}.")
