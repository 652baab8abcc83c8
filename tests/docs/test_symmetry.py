"""The code of docs/symmetry.md runs as it stands there, and prints what the page shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from doc_pages import run_section, text_of, untested_sections
from torch import nn

import onefold as of
from onefold.symmetry.rules import operator_rules

PAGE = "symmetry.md"


@pytest.fixture
def section(root: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a section and compare its output with the indented lines behind its blocks of code."""

    def run(title: str, **names: Any) -> dict[str, Any]:
        capsys.readouterr()
        names = run_section(root, PAGE, title, {"torch": torch, "nn": nn, "onefold": of, **names})
        (body,) = re.findall(
            rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)",
            text_of(root, PAGE),
            flags=re.DOTALL | re.MULTILINE,
        )
        shown = "".join(part for part in re.findall(r"```\n\n((?:    .*\n)*)", body))
        assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
            line[4:] for line in shown.splitlines()
        ]
        return names

    return run


def test_every_block_of_the_page_belongs_to_a_test_here(root: Path) -> None:
    assert untested_sections(root, PAGE, Path(__file__).read_text()) == []


def test_terms(section: Any) -> None:
    spec = section("Terms: what an axis is made of")["spec"]
    assert len(spec.group("g0").slots) == 7


def test_fibres(section: Any) -> None:
    section("Fibres: one map for each head")


def test_classes(section: Any) -> None:
    section("Classes of maps", x=torch.randn(2, 7, 5))


@pytest.fixture
def forgotten() -> Iterator[None]:
    yield
    operator_rules.unregister("smooth")


@pytest.mark.usefixtures("forgotten")
def test_own_rule(section: Any) -> None:
    section("A rule for an operator of your own")


def test_kept(section: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))
    section("Specs that are kept", network=network, images=torch.randn(2, 1, 8, 8))
    assert len(list((tmp_path / "specs").iterdir())) == 1
