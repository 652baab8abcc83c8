"""Adapters are no whole models: they are refused with the way to make one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from onefold.errors import WeightsError
from onefold.weights.folders import ADAPTER_CURE, FIRST

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")
MARKS = (
    ".lora_A.",
    ".lora_B.",
    ".lora_down.",
    ".lora_up.",
    ".lora_embedding_A",
    ".hada_w1_",
    ".lokr_w1",
)  # parts of the names of an adapter's tensors
WAY = f"{ADAPTER_CURE}, and merge what that writes"


def check_no_adapter(path: Path) -> None:
    """Refuse a path that is an adapter, by its name and its files alone.

    Args:
        path: a folder or file.

    Raises:
        WeightsError: it is one.
    """
    if path.name in FILES:
        raise WeightsError(f"{path} is an adapter and no whole model{_base(path.parent)}; {WAY}.")
    if is_adapter(path):
        raise WeightsError(f"{path} holds an adapter and no whole model{_base(path)}; {WAY}.")


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no weights of a whole model."""
    if not (folder / CONFIG).is_file():
        return False
    return not any((folder / name).is_file() for name in FIRST)


def is_adapter_name(name: str) -> bool:
    """Whether a tensor is part of an adapter, as its name tells."""
    return any(mark in name for mark in MARKS)


def check_names(path: Path, names: Iterable[str]) -> None:
    """Refuse a file that holds the tensors of an adapter.

    Raises:
        WeightsError: so it is.
    """
    for name in names:
        if is_adapter_name(name):
            raise WeightsError(f"{path} holds an adapter ('{name[:100]}'); {WAY}.")


def _base(folder: Path) -> str:
    """What the config of an adapter says of its base, as a part of a sentence."""
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        base = content.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return f" (its base is {base[:100]})" if isinstance(base, str) and base else ""
