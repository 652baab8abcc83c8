"""The code of docs/files.md runs as it stands there, and the page names all arguments."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from doc_pages import run_section, text_of, untested_sections

import onefold as of
from onefold.weights import Selection

PAGE = "files.md"


def test_the_example(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def section(title: str) -> dict[str, Any]:
        return run_section(root, PAGE, title, {})

    names = section("An example")
    for name, value in names["trained"].state_dict().items():
        assert torch.equal(value, names["weights"][f"model.{name}"])
        assert torch.equal(names["smooth"].state_dict()[name], names["averaged"]["module"][name])
        assert torch.equal(names["last"].state_dict()[name], value)
    assert set(names["first_layer"]) == {"weight", "bias"}


def test_the_page_names_all_arguments(root: Path) -> None:
    page = text_of(root, PAGE)
    for field in Selection.__dataclass_fields__:
        assert f"`{field}=" in page
        assert f"`--{field}`" in page
        assert field in inspect.signature(of.load).parameters
    assert not untested_sections(root, PAGE, Path(__file__).read_text())
