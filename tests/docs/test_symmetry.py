"""The code of the pages on symmetries runs as it stands there, and prints what they show."""

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

PAGES = {"theory": "how_it_works/symmetries.md", "guide": "guides/what_can_move.md"}


@pytest.fixture
def section(root: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a section and compare its output with the indented lines behind its blocks of code."""

    def run(title: str, kind: str = "theory", **names: Any) -> dict[str, Any]:
        capsys.readouterr()
        page = PAGES[kind]
        names = run_section(root, page, title, {"torch": torch, "nn": nn, "onefold": of, **names})
        (body,) = re.findall(
            rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)",
            text_of(root, page),
            flags=re.DOTALL | re.MULTILINE,
        )
        shown = "".join(part for part in re.findall(r"```\n\n((?:    .*\n)*)", body))
        assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
            line[4:] for line in shown.splitlines()
        ]
        return names

    return run


@pytest.mark.parametrize("page", PAGES.values())
def test_every_block_of_the_pages_belongs_to_a_test_here(root: Path, page: str) -> None:
    assert untested_sections(root, page, Path(__file__).read_text()) == []


def test_look(section: Any) -> None:
    assert section("Look", kind="guide")["proof"].passed


def test_inspect_from_the_shell(root: Path, onefold: Any) -> None:
    """The page's first command; the second one needs the config that it writes."""
    (command,) = re.findall(r"^onefold (inspect digits .*)$", text_of(root, PAGES["guide"]), re.M)
    assert onefold(*command.split()).status == 0


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
    section("A rule for an operator of your own", kind="guide")


def test_kept(section: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))
    section("Specs that are kept", kind="guide", network=network, images=torch.randn(2, 1, 8, 8))
    assert len(list((tmp_path / "specs").iterdir())) == 1
