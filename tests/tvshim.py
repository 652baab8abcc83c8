"""Import torchvision beside a CPU build of torch: its wheel lacks some operators there, whose fake kernels are then left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def torchvision_models() -> Any:
    """torchvision.models; skips the test where torchvision is not installed."""
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
        pytest.importorskip("torchvision", reason="torchvision is not installed", exc_type=ImportError)
        import torchvision.models
    finally:
        torch.library.register_fake = register
    return torchvision.models
