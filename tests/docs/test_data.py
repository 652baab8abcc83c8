"""What the guide on data says of arrays, masks, tables and batches is so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from guide_pages import run_page

PAGE = "guides/data.md"


def test_the_code_of_the_page(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_page(root, PAGE, {})
    assert (names["inputs"].shape, names["labels"].shape) == ((50, 3), (50,))
    assert (names["images"].shape, names["masks"].shape) == ((2, 3, 32, 32), (2, 32, 32))
    assert (names["numbers"].shape, names["sizes"].dtype) == ((10, 4), torch.float32)
    assert names["result"].report.examples == 71
