"""`onefold compare` without --model and --data: the files alone are compared, without torch.

The options are those of `onefold compare`, as the catalogue knows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onefold.cli.catalogue import catalogue
from onefold.cli.console import console, note, paragraph, print_json
from onefold.documents.commands import command_of
from onefold.errors import RecipeError

if TYPE_CHECKING:
    from onefold.checkpoints import CheckpointComparison

TAKEN = ("members", "base", "json", "report", "force")  # options that mean something here
OF_NETWORKS = ("--model", "--data")


def is_asked(arguments: Sequence[str]) -> bool:
    """Whether the arguments of `onefold compare` name neither a network nor data."""
    named = [one.partition("=")[0] for one in arguments]
    return not any(option in named for option in OF_NETWORKS)


def command() -> Any:
    """The command of typer's."""
    known = catalogue().commands["compare"]
    options = list(known.options)

    def call(context: Any, given: dict[str, Any]) -> None:
        for option in options:
            if option.name not in TAKEN and given.get(option.variable) not in (None, [], False):
                raise RecipeError(
                    f"--{option.name} is for networks that are run: give --model and --data, or"
                    " leave it out to compare the files alone."
                )
        _run(
            list(given["members"]),
            given.get("base"),
            context.obj,
            as_json=bool(given.get("json")),
            page=given.get("report"),
            force=bool(given.get("force")),
        )

    return command_of(known.name, known.text, options, call)


def _run(
    paths: list[str],
    base: str | None,
    threads: int | None,
    *,
    as_json: bool,
    page: str | None,
    force: bool,
) -> None:
    """Compare and print."""
    from onefold.checkpoints import compare_checkpoints
    from onefold.checkpoints.comparison.compare import open_all

    opened, _ = open_all(paths, base)
    if page is not None:
        from onefold.result_reports.pages import check_page

        read = {entry.file for one in opened.values() for entry in one.entries.values()}
        check_page(page, force, sorted(read))
    found = compare_checkpoints(paths, base, threads=threads, told=note)
    if page is not None:
        _write(found, page, force)
    if as_json:
        print_json(found.to_dict())
        return
    from onefold.cli.tables import print_table

    paragraph(found.heading)
    print_table(console(), found.headings, found.rows())
    for sentence in found.advice:
        paragraph(sentence)


def _write(found: CheckpointComparison, page: str, force: bool) -> None:
    from onefold.checkpoints.comparison.pages import report_of
    from onefold.result_reports.pages import write_page

    write_page(report_of(found), Path(page), force)
    note(f"Report written to {page}")
