"""Names of files are text, whatever they hold; inputs stay as they are."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.text import Text

from onefold.cli.console import console, print_json, say
from onefold.cli.tables import print_table
from onefold.documents.commands import as_it_is

FLAGS = ["--model", "digits?width=4", "--data", "sklearn:digits", "--samples", "64"]
NAMES = ["run[red]1", "run:smile:1", "net[link=x]", "a[/]", "[bold]", ":x:[/]:y:", "\\[a]"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is(capsys: pytest.CaptureFixture[str], name: str) -> None:
    print_table(console(), (f"column {name}", "n"), [(name, "1")])
    say(name)
    assert capsys.readouterr().out.count(name) == 3
    assert Text.from_markup(as_it_is(name)).plain == name


@pytest.mark.parametrize("name", NAMES)
def test_eval_names_files_as_they_are_called(
    onefold: Callable, members: list[Path], tmp_path: Path, name: str
) -> None:
    files = [tmp_path / f"{name}{k}" / "m.safetensors" for k in range(2)]
    for file in files:
        file.parent.mkdir(parents=True)
        shutil.copy(members[0], file)
    done = onefold("eval", *files, *FLAGS)
    assert done.status == 0, done.err
    assert all(str(file) in done.out for file in files)


@pytest.mark.parametrize("name", ["\x1b[31mred", "\x1b]0;owned\x07", "\u202etxt", "a\x9b1m"])
def test_what_does_not_print_is_escaped(capsys: pytest.CaptureFixture[str], name: str) -> None:
    print_table(console(), (name,), [(name,)])
    say(name)
    print_json({name: name})
    out = capsys.readouterr().out
    assert not set(name) & set("\x1b\x07\u202e\x9b") & set(out)
    assert json.loads(out[out.index("{") :]) == {name: name}


@pytest.mark.parametrize("command", ["eval", "merge", "align", "soft"])
@pytest.mark.parametrize("name", [b"x\xff.safetensors", b"\xe9.pt", b"a\x80b.safetensors"])
def test_names_of_other_bytes_are_one_sentence(
    refused: Callable, members: list[Path], tmp_path: Path, command: str, name: bytes
) -> None:
    path = tmp_path / os.fsdecode(name)
    shutil.copy(members[0], path)
    out = [] if command == "eval" else ["-o", tmp_path / "o.safetensors"]
    told = refused(command, path, members[1], *FLAGS, *out)
    assert "is no text in UTF-8" in told
    assert "\\udc" in told


@pytest.mark.parametrize("command", ["align", "merge", "soft"])
@pytest.mark.parametrize("way", ["itself", "a link", "a hard link"])
def test_no_command_replaces_an_input(
    refused: Callable, members: list[Path], tmp_path: Path, command: str, way: str
) -> None:
    member, output = tmp_path / "m.safetensors", tmp_path / "o.safetensors"
    shutil.copy(members[0], member)
    before = hashlib.sha256(member.read_bytes()).hexdigest()
    if way == "itself":
        output = member
    elif way == "a link":
        output.symlink_to(member)
    else:
        os.link(member, output)
    told = refused(command, member, members[1], *FLAGS, "-o", output, "--force", before="Reading")
    assert "is one of the inputs" in told
    assert hashlib.sha256(member.read_bytes()).hexdigest() == before


def test_nor_its_recipe_or_report(
    onefold: Callable, refused: Callable, members: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "o.safetensors"
    assert onefold("merge", *members[:2], *FLAGS, "-o", output).status == 0
    assert "is one of the inputs" in refused("merge", tmp_path / "o.recipe.yaml", "--force")
    report = tmp_path / "o.report.json"
    assert "is one of the inputs" in refused("report", report, "-o", report, "--force")


@pytest.mark.parametrize("suffix", [".safetensors", ".recipe.yaml", ".html"])
def test_a_result_follows_a_link_to_it(
    onefold: Callable, members: list[Path], tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "real").mkdir()
    link, real = tmp_path / "o.safetensors", tmp_path / "real" / "o.safetensors"
    link.symlink_to(real)
    flags = ["-o", link, "--report", real.with_suffix(".html"), "--eval-samples", "64"]
    assert onefold("merge", *members[:2], *FLAGS, *flags).status == 0
    assert link.is_symlink()
    assert real.with_suffix(suffix).is_file()
    again = onefold("merge", real.with_suffix(".recipe.yaml"), "-o", tmp_path / "a.safetensors")
    assert again.status == 0, again.err


@pytest.mark.parametrize("command", ["merge", "soft", "subspace", "report", "eval", "inspect"])
@pytest.mark.parametrize("suffix", ["yaml", "safetensors"])
def test_a_fifo_as_input_is_one_sentence(
    refused: Callable, members: list[Path], tmp_path: Path, command: str, suffix: str
) -> None:
    pipe = tmp_path / f"pipe.{suffix}"
    os.mkfifo(pipe)
    given = {
        "subspace": [pipe],
        "report": [pipe],
        "inspect": ["digits?width=4", pipe, "--shape", "1,8,8"],
    }.get(command, [pipe] if suffix == "yaml" and command != "eval" else [pipe, *FLAGS])
    if command in ("merge", "soft") and suffix != "yaml":
        given = [pipe, members[0], *FLAGS, "-o", tmp_path / "o.safetensors"]
    assert "it is a FIFO and no file" in refused(command, *given)


@pytest.mark.parametrize(
    "given",
    [
        ["inspect", "digits?width=999999999", "--shape", "1,8,8"],
        ["inspect", "resnet20?width=9999999", "--shape", "3,32,32"],
        ["inspect", "vgg11?width=1e9", "--shape", "3,32,32"],
        ["inspect", "digits", "--shape", "1,99999999,99999999"],
        ["inspect", "digits", "--shape", "9" * 6000],
        ["inspect", f"digits?width={'9' * 6000}", "--shape", "1,8,8"],
        ["demo", "--seed", str(2**64)],
        ["methods", "9" * 6000],
    ],
)
def test_numbers_beyond_reason_are_one_sentence(refused: Callable, given: list[str]) -> None:
    refused(*given)


@pytest.mark.parametrize("devices", [65 * 64, 100_000, 10**9])
def test_processes_beyond_reason_are_one_sentence(
    refused: Callable, members: list[Path], tmp_path: Path, devices: int
) -> None:
    out = ["-o", tmp_path / "o.safetensors", "--devices", str(devices)]
    told = refused("merge", *members[:2], *FLAGS, *out, before="Reading")
    assert "processes are more than the" in told
