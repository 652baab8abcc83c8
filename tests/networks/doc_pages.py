"""Running the code of a page of docs/ as it stands there, and small networks and data for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Small(nn.Module):
    """A classifier of 8 x 8 images with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 32)
        self.norm = nn.BatchNorm1d(32)
        self.last = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(x.flatten(1))).relu())


def pattern_images() -> tuple[DataLoader, DataLoader]:
    """Ten blurred patterns as images: training and held-out batches."""
    random = torch.Generator().manual_seed(0)
    patterns = torch.randn(10, 1, 8, 8, generator=random)
    labels = torch.arange(640) % 10
    inputs = patterns[labels] + torch.randn(640, 1, 8, 8, generator=random)
    training, test = (
        TensorDataset(inputs[:512], labels[:512]),
        TensorDataset(inputs[512:], labels[512:]),
    )
    return DataLoader(training, 64, shuffle=True, generator=random), DataLoader(test, 64)


def text_of(root: Path, page: str) -> str:
    return (root / "docs" / page).read_text()


def run_section(root: Path, page: str, title: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the blocks of a section one after the other, with the names that the page says stand for
    the reader's own; returns all names.
    """
    (body,) = re.findall(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)",
        text_of(root, page),
        flags=re.DOTALL | re.MULTILINE,
    )
    found = re.findall(r"```python\n(.*?)```", body, flags=re.DOTALL)
    assert found, title
    torch.manual_seed(0)
    space = {"__name__": "example", **names}
    for block in found:
        exec(compile(block, f"docs/{page}, {title}", "exec", dont_inherit=True), space)
    return space


def untested_sections(root: Path, page: str, tests: str) -> list[str]:
    """The sections with code that no test in the text `tests` runs."""
    text = text_of(root, page)
    assert 2 * sum(text.count(f"```{language}\n") for language in ("python", "sh")) == text.count(
        "```"
    )
    titles = [part.splitlines()[0] for part in text.split("\n## ")[1:] if "```python" in part]
    assert titles
    return [title for title in titles if f'section("{title}"' not in tests]
