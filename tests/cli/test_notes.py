"""What a command says beside its results: notes are no warnings, each is said once, and before what
it concerns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import onefold as of
from onefold.cli import console
from onefold.errors import Note

MODEL = ["--model", "digits?width=4"]
DATA = ["--data", "sklearn:digits", "--samples", "100", "--batch-size", "25"]
STEPS = {"merge": "Folding:", "soft": "Learning", "align": "Aligning", "eval": "Scoring"}
MORE = {
    "merge": ["--align", "permutation"],
    "soft": ["--level", "model", "--steps", "2", "--no-screen", "--align", "none"],
    "align": ["--align", "permutation"],
    "eval": [],
}


def lines_of(
    onefold: Callable, command: str, files: list[Path], folder: Path, *more: str
) -> list[str]:
    """The lines on standard error."""
    output = [] if command in ("align", "eval") else ["-o", folder / "f.safetensors"]
    result = onefold(command, *files, *MODEL, *DATA, *MORE[command], *more, *output)
    assert result.status == 0, result.err
    return result.err.splitlines()


@pytest.mark.parametrize("command", STEPS)
def test_how_a_file_was_read_is_a_note_before_the_work(
    onefold: Callable, members: list[Path], tmp_path: Path, command: str
) -> None:
    file = tmp_path / "last.ckpt"
    torch.save({"state_dict": of.load(members[1]), "epoch": 3}, file)
    lines = lines_of(onefold, command, [members[0], file], tmp_path)
    (told,) = [number for number, line in enumerate(lines) if "Took the entry" in line]
    assert not lines[told].startswith("warning")
    assert told < [line.split()[0] for line in lines].index(STEPS[command])


@pytest.mark.parametrize("command", STEPS)
def test_a_member_given_twice_is_one_warning_before_the_work(
    onefold: Callable, members: list[Path], tmp_path: Path, command: str
) -> None:
    lines = lines_of(onefold, command, [members[0], members[1], members[0]], tmp_path)
    (told,) = [number for number, line in enumerate(lines) if "gains nothing" in line]
    assert lines[told].startswith("warning: ")
    assert told < [line.split()[0] for line in lines].index(STEPS[command])


def test_the_caption_of_scores_is_a_note_and_a_doubt_a_warning(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    lines = lines_of(onefold, "merge", members[:2], tmp_path, "--eval-samples", "60")
    assert "More columns and rows: --details." in lines
    assert not [line for line in lines if "In bold" in line]  # nothing is, without a terminal
    assert [line for line in lines if line.startswith("warning: No network here is better than")]


def test_what_was_chosen_comes_first_and_the_cost_before_it(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    output = ["-o", tmp_path / "f.safetensors"]
    result = onefold("merge", *members[:2], *MODEL, *DATA, *output)
    assert result.out.startswith("The default took ")
    assert "To gain more: " in result.out
    assert "that runs 2 networks on up to 5,000 examples" in result.err
    named = onefold("merge", *members[:2], *MODEL, *DATA, "--fold", "average", *output, "--force")
    assert "The default took" not in named.out
    assert "that runs" not in named.err


def test_a_text_is_told_once_in_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        console.forget()
        console.tell(["a doubt", Note("a fact"), "a doubt", Note("a fact")])
        console.warn("a doubt")
    assert capsys.readouterr().err == "warning: a doubt\na fact\n" * 2


def test_warnings_of_libraries_stay_out(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "data.py").write_text(
        "import warnings, torch\ndef load(split):\n    warnings.warn('from a library')\n"
        "    return [(torch.randn(32, 1, 8, 8), torch.arange(32) % 10)]\n"
    )
    call = ["eval", members[0], *MODEL, "--data", f"{tmp_path / 'data.py'}:load"]
    result = onefold(*call)
    assert result.status == 0
    assert "from a library" not in result.err
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        from onefold.cli import run

        run(["--debug", *map(str, call)])
    assert [str(one.message) for one in told if "library" in str(one.message)] == ["from a library"]
