"""Import torchvision beside a CPU build of torch: its wheel lacks some operators there, whose fake
kernels are then left out.

Done once for all tests (conftest.py), since timm and torchmetrics import torchvision wherever it is
installed.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch


def import_torchvision() -> None:
    """Import torchvision, if it is installed."""
    if importlib.util.find_spec("torchvision") is None:
        return
    register = torch.library.register_fake

    def tolerant(name: Any, *args: Any, **kwargs: Any) -> Any:
        def decorate(function: Any) -> Any:
            try:
                return register(name, *args, **kwargs)(function)
            except RuntimeError:
                return function

        return decorate

    torch.library.register_fake = tolerant
    try:
        import torchvision.models  # noqa: F401
    finally:
        torch.library.register_fake = register


def torchvision_models() -> Any:
    """torchvision.models; skips the test where torchvision is not installed."""
    return pytest.importorskip("torchvision.models", reason="torchvision is not installed")
