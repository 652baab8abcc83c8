"""The code of docs/partial_merging.md runs as it stands, and shows what the page says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_pages import run_section, text_of, untested_sections


def test_the_example(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where the page's file goes
    names = run_section(root, "partial_merging.md", "An example", {})
    accuracy = names["accuracy"]
    assert (
        accuracy["up to 1"] > accuracy["up to 3"] > max(accuracy["member 0"], accuracy["member 1"])
    )
    assert abs(accuracy["up to 1"] - accuracy["ensemble"]) < 0.01
    assert [p.name for p in tmp_path.iterdir()] == ["partial.safetensors"]
    page = " ".join(text_of(root, "partial_merging.md").split())
    report = " ".join(
        line for line in capsys.readouterr().out.split("\n") if "merged up to" in line
    )
    assert report in page


def test_every_section_with_code_is_run(root: Path) -> None:
    assert untested_sections(root, "partial_merging.md", 'section("An example"') == []
