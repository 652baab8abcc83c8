"""No command replaces what it reads, whatever kind of input it is and whatever name leads to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import pixels, png

NETWORK = ["--model", "digits?width=4"]
DATA = ["--data", "sklearn:digits", "--samples", "64"]
MERGE = ["merge", "m0.safetensors", "m1.safetensors"]
OWN = """
from onefold.sources import build_data, build_model

def network():
    return build_model("digits?width=4")

def batches(split):
    return build_data("sklearn:digits", limit=64)
"""

# An input -> a command that reads it, and the name that it would write over the input.
CASES: dict[str, tuple[str, list[str], str]] = {
    "a network's file": (
        "own.py",
        [*MERGE, "--model", "own.py:network", *DATA, "-o"],
        "o.safetensors",
    ),
    "data's file": ("own.py", [*MERGE, *NETWORK, "--data", "own.py:batches", "-o"], "o.pt"),
    "a file of methods": (
        "own.py",
        ["soft", *MERGE[1:], *NETWORK, *DATA, "--use", "own.py", "-o"],
        "o.safetensors",
    ),
    "an image": (
        "images/train/a/0.png",
        ["inspect", *NETWORK[1:], "--data", "imagefolder:images", "--picture"],
        "o.png",
    ),
    "class names": (
        "names.txt",
        [
            *MERGE,
            *NETWORK,
            "--data",
            "sklearn:digits?classes=names.txt",
            "-o",
            "r.safetensors",
            "--report",
        ],
        "o.html",
    ),
    "a checkpoint, drawn over": (
        "m0.safetensors",
        ["inspect", *NETWORK[1:], "m0.safetensors", "--shape", "1,8,8", "--picture"],
        "o.svg",
    ),
    "an alignment": (
        "al.safetensors",
        [*MERGE, *NETWORK, *DATA, "--alignment", "al.safetensors", "-o"],
        "o.safetensors",
    ),
    "a member, in a folder of shards": (
        "shards/model-1.safetensors",
        ["align", "shards/model.safetensors.index.json", "m1.safetensors", *NETWORK, *DATA, "-o"],
        "o.safetensors",
    ),
    "a report": ("a.report.json", ["report", "a.report.json", "-o"], "o.html"),
}


@pytest.fixture
def place(members: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an input of every kind, in which commands run."""
    for path in members[:2]:
        shutil.copy(path, tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "names.txt").write_text("".join(f"{k}\n" for k in range(10)))
    (tmp_path / "al.safetensors").write_bytes(b"never read")
    (tmp_path / "a.report.json").write_text("{}")
    for name in "ab":
        (tmp_path / "images" / "train" / name).mkdir(parents=True)
        (tmp_path / "images" / "train" / name / "0.png").write_bytes(png(pixels(1)[0]))
    (tmp_path / "shards").mkdir()
    shutil.copy(members[0], tmp_path / "shards" / "model-1.safetensors")
    (tmp_path / "shards" / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-1.safetensors"}}'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("way", ["a link", "a link to a link", "a hard link"])
@pytest.mark.parametrize("case", CASES)
def test_an_input_stays(case: str, way: str, refused: Callable, place: Path) -> None:
    name, command, output = CASES[case]
    taken, new = place / name, place / output
    before = taken.read_bytes()
    if way == "a link":
        new.symlink_to(taken)
    elif way == "a link to a link":
        (place / "between").symlink_to(name)  # a relative one
        new.symlink_to("between")
    else:
        os.link(taken, new)
    if way == "a hard link" and case == "an image":
        pytest.skip("a name outside of a folder of data is no part of it, and is replaced alone")
    told = refused(*command, output, "--force", before="Reading")
    # the name that a link leads to may be none that a result can have
    assert "is one of the inputs" in told or "end in" in told
    assert taken.read_bytes() == before
    assert new.is_symlink() == (way != "a hard link")


@pytest.mark.parametrize("command", ["subspace", "persist"])
@pytest.mark.parametrize("name", ["own.py", "recipe.yaml"])
def test_a_run_s_folder_keeps_what_the_run_reads(
    command: str, name: str, onefold: Callable, refused: Callable, place: Path
) -> None:
    """The network's own file under the name of a result, and the recipe of the folder itself."""
    run = place / "run"
    more = ["--shape", "line"] if command == "subspace" else ["--rounds", "1"]
    call = [command, *DATA, "--epochs", "1", "--batch-size", "32", *more, "-o", "run"]
    if name == "own.py":
        run.mkdir()
        os.link(place / "own.py", run / "report.json")
        told = refused(*call, "--force", "--model", "own.py:network", before="Reading")
        assert (place / "own.py").read_text() == (run / "report.json").read_text() == OWN
    else:
        assert onefold(*call, *NETWORK).status == 0
        before = (run / "recipe.yaml").read_bytes()
        told = refused(command, "run/recipe.yaml", "-o", "run", "--force", before="Reading")
        assert (run / "recipe.yaml").read_bytes() == before
    assert "is one of the inputs" in told


@pytest.mark.parametrize("name", ["kept/o.safetensors", "kept/../kept/o.safetensors", "link/o.pt"])
def test_what_a_run_resumes_from_holds_no_output(name: str, refused: Callable, place: Path) -> None:
    (place / "kept").mkdir()
    (place / "link").symlink_to("kept")
    told = refused(*MERGE, *NETWORK, *DATA, "--resume", "kept", "-o", name, before="Reading")
    assert "which keeps what a run resumes from" in told


def test_the_page_of_a_report_is_not_written_over_it_by_default(
    refused: Callable, place: Path
) -> None:
    (place / "a.report.html").symlink_to("a.report.json")
    assert "is one of the inputs" in refused("report", "a.report.json", "--force")
    assert (place / "a.report.json").read_text() == "{}"
