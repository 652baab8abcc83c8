"""The code of the guide on files runs as it stands there, and the page names all arguments."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch
from doc_pages import text_of
from guide_pages import run_page

import onefold as of
from onefold.weights import Selection

PAGE = "guides/files.md"


def test_the_example(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_page(root, PAGE, {})
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


def test_the_number_of_damaged_files_is_that_of_the_results(root: Path) -> None:
    records = [
        json.loads((root / "benchmarks" / "results" / "fuzz" / f"{name}.json").read_text())
        for name in ("headers", "archives")
    ]
    count = sum(record["files"] for record in records)
    assert f"{count:,} damaged files were read" in text_of(root, PAGE)
