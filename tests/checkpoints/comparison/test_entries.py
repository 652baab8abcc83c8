"""What is compared is found as it is found for a merge, and more besides: as it is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import onefold
from onefold.checkpoints.comparison.entries import open_checkpoint
from onefold.checkpoints.layouts import read_layout
from onefold.errors import WeightsError

STATE = {"layers.0.w": torch.arange(6.0).view(2, 3), "layers.1.w": torch.ones(2, 3).bfloat16()}


def folder(path: Path, state: dict[str, Any], name: str = "model.safetensors") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    save_file(state, path / name)
    return path


def test_entries_are_the_tensors_of_the_layout(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", STATE)
    (tmp_path / "b").mkdir()
    torch.save(STATE, tmp_path / "b" / "weights.bin")
    torch.save({"step": torch.ones(1)}, tmp_path / "b" / "training_args.bin")
    for path in (first, tmp_path / "b"):
        found, layout = open_checkpoint(path), read_layout(path)
        assert list(found.entries) == list(layout.tensors)
        for name, entry in found.entries.items():
            assert (entry.file, entry.shape) == (layout.tensors[name].file, STATE[name].shape)
            assert entry.dtype == {"layers.0.w": "F32", "layers.1.w": "BF16"}[name]
            assert (entry.tensor is None) is (path == first)
    assert onefold.checkpoints.compare_checkpoints([first, tmp_path / "b"]).total.equal == (2,)


def test_what_cannot_be_merged_can_be_compared_as_it_is_stored(tmp_path: Path) -> None:
    packed = {"layers.0.qweight": torch.ones(4, 4, dtype=torch.int32), "norm": torch.ones(4)}
    scaled = {"w": torch.ones(4, 4).to(torch.float8_e4m3fn), "w_scale_inv": torch.ones(1, 1)}
    for kind, state in {"gptq": packed, "fp8": scaled}.items():
        paths = [folder(tmp_path / f"{kind}{seed}", state) for seed in range(2)]
        for path in paths:
            told = {"quantization_config": {"quant_method": kind}}
            (path / "config.json").write_text(json.dumps(told))
        entries = open_checkpoint(paths[0]).entries
        assert set(entries) == set(state)
        made = onefold.checkpoints.compare_checkpoints(paths)
        assert set(made.differences.quantised) == {path.name for path in paths}
    with pytest.raises(WeightsError, match="quantised by gptq"):
        read_layout(tmp_path / "gptq0")


def test_adapters_are_compared(tmp_path: Path) -> None:
    state = {"base.layers.0.lora_A.weight": torch.ones(2, 4)}
    paths = [folder(tmp_path / f"a{i}", state, "adapter_model.safetensors") for i in range(2)]
    for path in paths:
        (path / "adapter_config.json").write_text("{}")
    assert onefold.checkpoints.compare_checkpoints(paths).total.equal == (1,)


def test_components_of_a_pipeline_have_their_folder_before_their_names(tmp_path: Path) -> None:
    place = tmp_path / "pipe"
    folder(place / "unet", STATE, "diffusion_pytorch_model.safetensors")
    folder(place / "vae", STATE, "diffusion_pytorch_model.safetensors")
    index = {"_class_name": "P", "unet": ["a", "b"], "vae": ["a", "b"], "scheduler": ["a", "b"]}
    (place / "model_index.json").write_text(json.dumps(index))
    assert set(open_checkpoint(place).entries) == {
        f"{part}/{name}" for part in ("unet", "vae") for name in STATE
    }


def test_what_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="holds no weights"):
        open_checkpoint(tmp_path / "empty")
    with pytest.raises(WeightsError, match="neither a folder or file"):
        open_checkpoint(tmp_path / "nowhere")
    path = folder(tmp_path / "a", STATE) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        open_checkpoint(tmp_path / "a")
