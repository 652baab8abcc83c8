"""What is copied from the folder of one model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onefold.checkpoints.layouts import read_layout
from onefold.checkpoints.plan.companions import check_layers, config_of, copy_companions
from onefold.errors import WeightsError


def folder(path: Path, config: dict[str, object], layers: int = 2) -> Path:
    path.mkdir()
    state = {f"layers.{i}.w": torch.ones(2) for i in range(layers)}
    save_file(state, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_modules_of_sentence_transformers_are_copied_with_their_folders(tmp_path: Path) -> None:
    path, out = folder(tmp_path / "m", {}), tmp_path / "out"
    out.mkdir()
    modules = [{"path": ""}, {"path": "1_Pooling"}, {"path": "../elsewhere"}, {"path": "2_Dense"}]
    (path / "modules.json").write_text(json.dumps(modules))
    for name in ("1_Pooling", "2_Dense"):
        (path / name).mkdir()
        (path / name / "config.json").write_text(name)
    (path / "README.md").write_text("of the model")
    names = copy_companions(read_layout(path), out)
    assert names == ["1_Pooling", "2_Dense", "modules.json"]
    assert (out / "2_Dense" / "config.json").read_text() == "2_Dense"


def test_the_number_of_layers_is_entered_where_the_config_says_it(tmp_path: Path) -> None:
    config = {"text_config": {"num_hidden_layers": 2, "layer_types": ["full", "full"]}}
    layout = read_layout(folder(tmp_path / "m", config))
    changed = config_of(layout, "bfloat16", {"default": (2, 5)})
    assert changed["text_config"] == {"num_hidden_layers": 5, "layer_types": ["full"] * 5}
    other = read_layout(folder(tmp_path / "other", {"blocks": 2}))
    check_layers(other, {"default": (2, 2)})
    with pytest.raises(WeightsError, match="does not say 2 layers"):
        check_layers(other, {"default": (2, 3)})
