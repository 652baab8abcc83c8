"""A tiny base with fine-tunes that lie near it, and documents in files, drawn by seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tiny_checkpoints as tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

from onefold.documents.yaml_text import text_from

SMALL = 0.02  # how far a fine-tune is from its base, beside weights of about 1/4


def moved(state: Mapping[str, Tensor], seed: int, by: float = SMALL) -> dict[str, Tensor]:
    """A state dict near another one; whole numbers stay."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (tensor.float() + by * torch.randn(tensor.shape, generator=generator)).to(
            tensor.dtype
        )
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in state.items()
    }


def put(folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> str:
    """A folder with one file of weights and a config, as text for a document."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(state), folder / "model.safetensors", {"format": "pt"})
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def family(
    folder: Path, build: Callable[[], Any], count: int = 2, dtype: torch.dtype = torch.float32
) -> list[str]:
    """A base that transformers wrote, and fine-tunes of it; the base comes first."""
    base = tiny.write(folder / "base", build(), 0, dtype)
    state, config = tiny.stored(base), json.loads((base / "config.json").read_text())
    tuned = [put(folder / f"tuned{i}", moved(state, i + 1), config) for i in range(count)]
    return [str(base), *tuned]


def written(path: Path, *contents: Mapping[str, Any]) -> Path:
    """A file with one or several documents."""
    path.write_text("---\n".join(text_from(dict(content)) for content in contents))
    return path


def ties(paths: list[str], **more: Any) -> dict[str, Any]:
    """A document that merges fine-tunes of the first path."""
    listed = [{"model": p, "parameters": {"weight": 1.0, "density": 0.5}} for p in paths[1:]]
    return {"merge_method": "ties", "base_model": paths[0], "models": listed, **more}


def linear(paths: list[str], *weights: float, **more: Any) -> dict[str, Any]:
    """A document that averages, with equal weights where none are given."""
    given = weights or tuple(1.0 for _ in paths)
    listed = [
        {"model": path, "parameters": {"weight": weight}}
        for path, weight in zip(paths, given, strict=True)
    ]
    return {"merge_method": "linear", "models": listed, **more}
