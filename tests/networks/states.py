"""States to write and to read, and comparisons of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onefold import weights


def names(folder: Path) -> list[str]:
    """Names in the folder, sorted."""
    return sorted(os.listdir(folder))


def same(a: Any, b: Any) -> bool:
    """Whether two states have the same contents."""
    return weights.state_checksum(a) == weights.state_checksum(b)


def plain(seed: int = 0) -> dict[str, Tensor]:
    """A small state dict."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(3, 4, generator=generator),
        "a.bias": torch.randn(3, generator=generator),
        "steps": torch.tensor(7),
    }
