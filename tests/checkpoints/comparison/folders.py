"""Small folders of checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]


def network(seed: int) -> State:
    """Random weights with an embedding, two layers and a norm that all networks have alike."""
    made = torch.Generator().manual_seed(seed)
    shapes = {"embed.weight": (12, 8)}
    shapes |= {f"layers.{i}.{part}.weight": (8, 8) for i in range(2) for part in ("q", "k")}
    state = {name: torch.randn(shape, generator=made) for name, shape in shapes.items()}
    return {**state, "norm.weight": torch.ones(8)}


def tuned(base: State, seed: int, size: float = 0.01) -> State:
    """The base with noise on every weight."""
    made = torch.Generator().manual_seed(seed)
    return {name: old + size * torch.randn(old.shape, generator=made) for name, old in base.items()}


def put(folder: Path, state: State, config: dict | None = None) -> Path:
    """Write a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in state.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def tokenizer(folder: Path, tokens: list[str], added: tuple[str, ...] = ()) -> None:
    """Write a tokenizer.json with these tokens."""
    more = [{"id": len(tokens) + k, "content": text} for k, text in enumerate(added)]
    model = {"type": "BPE", "vocab": {text: k for k, text in enumerate(tokens)}}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": more}))
