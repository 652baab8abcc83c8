"""Tables in a terminal are the texts of their cells, whole or in brief."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from onefold.cli.tables import NARROW, print_scores, print_table
from onefold.report import Column, Table


def console(width: int = 1000) -> Console:
    return Console(file=io.StringIO(), width=width)


def lines(target: Console) -> list[str]:
    assert isinstance(target.file, io.StringIO)
    return [line.rstrip() for line in target.file.getvalue().splitlines() if line.strip()]


@pytest.mark.parametrize("name", ["[bold]a", ":smile:", "\x1b[2Jb", "a\u202eb", "x" * 300])
def test_cells_are_shown_as_they_are(name: str) -> None:
    target = console()
    print_table(target, ("name", "count"), [(name, "1,000"), ("b", "20")])
    shown = lines(target)
    assert len(shown) == 3
    text = name if name.isprintable() else name.encode("unicode_escape").decode()
    assert shown[1].startswith(text)
    assert shown[1].endswith(" 1,000")
    assert shown[2].endswith("    20")  # numbers stand to the right


SCORES = Table(
    columns=(
        Column(name="network"),
        Column(name="accuracy", unit="%", digits=2),
        Column(name="ECE", unit="%, 15 bins", digits=2),
        Column(name="note"),
    ),
    rows=(("a", 99.0, 1.5, "near"),),
)


@pytest.mark.parametrize(
    ("width", "brief", "all_columns"),
    [(NARROW, False, True), (NARROW - 1, False, False), (NARROW, True, False)],
)
def test_narrow_terminals_show_the_most_telling_columns(
    width: int, brief: bool, all_columns: bool
) -> None:
    target = console(width)
    print_scores(target, SCORES, brief=brief)
    text = "\n".join(lines(target))
    assert "99.00" in text
    assert ("near" in text) == all_columns
    assert ("ECE (%, 15 bins)" in text) == all_columns
    assert ("ECE (%)" in text) != all_columns
