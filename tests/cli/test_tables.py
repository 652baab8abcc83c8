"""Tables in a terminal are the texts of their cells, whole or in brief."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from onefold.cli.tables import print_scores, print_table
from onefold.report import Column, Table


def console(width: int = 1000, *, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


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
        Column(name="standard error", unit="points", digits=2, part="error", detail=True),
        Column(name="NLL", unit="nats", digits=4),
        Column(name="ECE", unit="%, 15 equal-width bins", digits=2),
        Column(name="Brier score", unit="0 to 2", digits=4, detail=True),
        Column(name="examples", unit="number", detail=True),
        Column(name="difference to folded", unit="points", digits=2),
        Column(name="its standard error, paired", digits=2, part="error", detail=True),
        Column(name="inference cost", unit="× one member", digits=2),
        Column(name="note", detail=True),
    ),
    rows=(
        ("member 0", 99.0, 0.41, 0.1, 1.5, 0.2, 1000, -0.25, 0.5, 1.0, ""),
        ("member 1, mapped", 90.0, 0.41, 0.1, 1.5, 0.2, 1000, 3.0, 0.5, 1.0, "near"),
        ("folded", 99.25, 0.4, 0.1, 1.5, 0.2, 1000, None, None, 1.0, ""),
    ),
    emphasis=(2,),
)
HIDDEN = ("member 1, mapped",)


@pytest.mark.parametrize(
    ("width", "terminal"), [(60, True), (80, True), (120, True), (1000, False)]
)
def test_scores_are_shown_in_brief_and_fit_the_terminal(width: int, terminal: bool) -> None:
    target = console(width, terminal=terminal)
    print_scores(target, SCORES, hidden=HIDDEN)
    shown = lines(target)
    assert not terminal or max(map(len, shown)) <= width
    text = "\n".join(shown)
    for number in ("99.00 ± 0.41", "-0.25 ± 0.50", "0.1000"):
        assert number in text
    for detail in ("Brier", "1,000", "member 1", "near"):
        assert detail not in text
    assert text.splitlines()[-1].endswith("1.00")


def test_details_are_all_columns_and_rows() -> None:
    target = console()
    print_scores(target, SCORES, details=True, hidden=HIDDEN)
    text = "\n".join(lines(target))
    for detail in ("ECE (%, 15 equal-width bins)", "Brier", "1,000", "member 1, mapped", "near"):
        assert detail in text


def test_a_terminal_that_is_too_narrow_gets_lines_instead_of_broken_numbers() -> None:
    target = console(40, terminal=True)
    print_scores(target, SCORES, details=True)
    shown = lines(target)
    assert max(map(len, shown)) <= 40
    assert "  accuracy (%): 99.00" in shown


def test_words_are_broken_between_and_never_within() -> None:
    target = console(44, terminal=True)
    rows = [("cca", "relu", "0.52", "Canonical correlation analysis of features.")]
    print_table(target, ("matcher", "read at", "mean correlation", "summary"), rows)
    words = " ".join(lines(target)).split()
    for word in ("Canonical", "correlation", "analysis", "features.", "0.52"):
        assert word in words


def test_other_tables_are_shown_whole() -> None:
    columns = (Column(name="network"), Column(name="from the ensemble", unit="nats"))
    target = console(80, terminal=True)
    print_scores(target, Table(columns=columns, rows=(("a", 0.5),)))
    assert "from the ensemble (nats)" in "\n".join(lines(target))
