"""`--report` of the commands that look at networks: a page, checked before anything slow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onefold.report import Report

MODEL = ["--model", "digits?width=4"]
DATA = ["--data", "sklearn:digits", "--samples", "60"]
COMMANDS: dict[str, tuple[list[str], str]] = {
    "align": ([*MODEL, *DATA, "--align", "permutation"], "features in"),
    "compare": ([*MODEL, *DATA], "These networks"),
    "eval": ([*MODEL, *DATA], "The best network, "),
    "inspect": (["digits?width=4", "--shape", "1,8,8"], "can move"),
}


def arguments(command: str, members: list[Path]) -> list[object]:
    files: list[object] = [] if command == "inspect" else list(members[:2])
    return [command, *files, *COMMANDS[command][0]]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_it_writes_a_page_and_its_data(
    onefold: Callable, members: list[Path], tmp_path: Path, command: str
) -> None:
    page = tmp_path / "page.json"
    given = [*arguments(command, members), "--report", page]
    found = onefold(*given)
    assert found.status == 0, found.err
    assert f"Report written to {page}" in found.err
    report = Report.from_json(page.read_bytes())
    assert COMMANDS[command][1] in report.verdict
    assert report.date
    again = onefold(*given)
    assert again.status == 2
    assert "page.json" in again.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_of_another_kind_or_in_place_of_an_input_is_refused(
    onefold: Callable, members: list[Path], tmp_path: Path, command: str
) -> None:
    found = onefold(*arguments(command, members), "--report", tmp_path / "page.pdf")
    assert found.status == 2
    assert ".html or .json" in found.err
    assert not list(tmp_path.iterdir())
