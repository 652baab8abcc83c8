"""The guide for users of mergekit runs as it stands, and its tables say what files say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
from doc_pages import text_of
from fine_tunes import family
from guide_pages import blocks, commands, run_page

from onefold.checkpoints.methods import methods

PAGE, COMPLAINTS = "guides/from_mergekit.md", "guides/mergekit_complaints.md"
RESULTS = "benchmarks/results/checkpoints/differential.json"


@pytest.fixture
def folders(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, name in zip(family(tmp_path, tiny.llama), ("base", "code", "math"), strict=True):
        Path(path).rename(tmp_path / name)
    (text,) = blocks(root, PAGE, "yaml")
    (tmp_path / "config.yml").write_text(text)


def test_the_commands(root: Path, folders: None, onefold: Callable) -> None:
    for words in commands(root, PAGE):
        assert words[0] == "onefold"
        found = onefold(*words[1:])
        assert found.status == 0, found.err
    merged, again = tiny.stored(Path("merged")), tiny.stored(Path("read-as-before"))
    assert set(merged) == set(again) == set(tiny.stored(Path("base")))


def test_the_code(root: Path, folders: None) -> None:
    made = run_page(root, PAGE, {})["made"]
    assert (made.path / "mergekit_config.yml").is_file()
    assert (made.path / "README.md").is_file()


def test_the_differences_are_those_that_were_recorded(root: Path) -> None:
    told = json.loads((root / RESULTS).read_text())
    reasons = {reason for one in told["configurations"] for _, reason in one["differences"]}
    section = text_of(root, PAGE).split("The reasons of all differences:")[1].split("Each with")[0]
    listed = [" ".join(one.split()) for one in section.split("\n- ")[1:]]
    assert set(listed) == reasons
    text = text_of(root, PAGE)
    assert f"mergekit {told['versions']['mergekit']} in" in text
    assert "More than 100 configurations were merged by both" in text
    assert len(told["configurations"]) > 100
    compared = {
        one["name"]: one["relative"]
        for one in told["configurations"]
        if one["dtype"] == "float32" and "relative" in one
    }
    assert "to 3e-07 of a" in text
    assert sum(value > 3e-7 for value in compared.values()) <= 2 < len(compared) / 20


def test_the_methods_of_mergekit_are_those_that_were_recorded(root: Path) -> None:
    told = json.loads((root / RESULTS).read_text())
    found = {one["method"] for one in told["configurations"]}
    assert f"The {len(found)} methods of mergekit" in text_of(root, PAGE)
    assert found <= set(methods.names())


def test_every_complaint_has_its_tests(root: Path) -> None:
    text, folder = text_of(root, COMPLAINTS), root / "tests" / "checkpoints" / "complaints"
    rows = re.findall(r"^\| (\d*) \|.*\| `(test_\w+\.py)` \|$", text, re.MULTILINE)
    assert [number for number, _ in rows if number] == [str(n) for n in range(1, 21)]
    for number, file in rows:
        tests = (folder / file).read_text()
        of = re.findall(r'"""Complaints? ([\d, and]+)', tests)
        assert not number or any(number in re.findall(r"\d+", one) for one in of), (number, file)
    assert {file for _, file in rows} == {path.name for path in folder.glob("test_*.py")}
