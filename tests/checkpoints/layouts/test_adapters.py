"""Adapters that are given as models are refused before any file of weights is opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import save_file

import onefold
from onefold.checkpoints.layouts import read_layout
from onefold.errors import RecipeError, WeightsError


def adapter(folder: Path, weights: bytes | None = None) -> Path:
    """A folder as peft writes it."""
    folder.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    file = folder / "adapter_model.safetensors"
    if weights is not None:
        file.write_bytes(weights)
    else:
        save_file({"base_model.model.q.lora_A.weight": torch.zeros(2, 4)}, file)
    return folder


def linear(*paths: object) -> object:
    models = [{"model": str(path), "parameters": {"weight": 1.0}} for path in paths]
    return tiny.document({"merge_method": "linear", "models": models})


def test_a_folder_of_an_adapter_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    broken = tmp_path / "broken"  # would be refused if it were read
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"no header")
    for place in (adapter(tmp_path / "a", b"no header"), tmp_path / "a/adapter_model.safetensors"):
        with pytest.raises(WeightsError, match=r"adapter.*base is org/base.*merge_and_unload") as e:
            onefold.merge_checkpoints(linear(broken, place), tmp_path / "out")  # type: ignore[arg-type]
        assert str(e.value).count(".") <= 3
        assert not (tmp_path / "out").exists()


def test_a_reference_with_an_adapter_is_refused(tmp_path: Path) -> None:
    base = tiny.write(tmp_path / "base", tiny.bert(), 0)
    lora = adapter(tmp_path / "lora")
    with pytest.raises(RecipeError, match=r"adds the adapter.*merge_and_unload"):
        onefold.merge_checkpoints(linear(f"{base}+{lora}"), tmp_path / "out")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["base_model.model.q.lora_B.weight", "lora_unet_down.lora_down.weight", "x.lokr_w1"]
)
def test_a_file_of_an_adapter_is_told_by_its_names(tmp_path: Path, name: str) -> None:
    save_file({name: torch.zeros(2, 2)}, tmp_path / "style.safetensors")
    with pytest.raises(WeightsError, match="holds an adapter"):
        read_layout(tmp_path / "style.safetensors")


def test_a_whole_model_with_an_adapter_beside_it_is_read_with_a_note(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "m", tiny.bert(), 0)
    (folder / "adapter_config.json").write_text("{}")
    assert "left out" in " ".join(read_layout(folder).notes)
