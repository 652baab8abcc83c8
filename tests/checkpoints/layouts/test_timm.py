"""Checkpoints of timm, as folders and as files, are merged into what timm loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import save_file
from tvshim import import_torchvision

import onefold

import_torchvision()
timm = pytest.importorskip("timm")

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}


def network(seed: int, name: str = "vit_tiny_patch16_224") -> Any:
    """A small network of timm with weights of a seed."""
    torch.manual_seed(seed)
    more = SMALL if name.startswith("vit") else {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}
    return timm.create_model(name, num_classes=4, **more).eval()


def folder(path: Path, seed: int, name: str = "vit_tiny_patch16_224") -> Path:
    """A folder as timm publishes it."""
    path.mkdir()
    made = network(seed, name)
    more = SMALL if name.startswith("vit") else {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}
    size = made.pretrained_cfg["input_size"] if "img_size" not in more else [3, 32, 32]
    config = {
        "architecture": name,
        "num_classes": 4,
        "model_args": more,
        "pretrained_cfg": {"num_classes": 4, "input_size": list(size), "fixed_input_size": False},
    }
    (path / "config.json").write_text(json.dumps(config))
    save_file(made.state_dict(), path / "model.safetensors", {"format": "pt"})
    return path


def linear(paths: list[Path], **more: Any) -> Any:
    models = [
        {"model": str(path), "parameters": {"weight": weight}}
        for path, weight in zip(paths, (0.25, 0.75), strict=True)
    ]
    return tiny.document({"merge_method": "linear", "models": models, **more})


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto"])
@pytest.mark.parametrize("more", [{}, {"dtype": "bfloat16"}])
def test_folders_are_merged_into_one_that_timm_loads(
    tmp_path: Path, name: str, more: dict[str, Any]
) -> None:
    paths = [folder(tmp_path / f"m{i}", i, name) for i in range(2)]
    made = onefold.merge_checkpoints(linear(paths, **more), tmp_path / "out")
    loaded = timm.create_model(f"local-dir:{made.path}", pretrained=True)
    states = [network(i, name).state_dict() for i in range(2)]
    rough = {"rtol": 2e-2, "atol": 2e-2} if more else {}
    for key, tensor in loaded.state_dict().items():
        expected = 0.25 * states[0][key] + 0.75 * states[1][key]
        torch.testing.assert_close(tensor.float(), expected, **rough)
    assert made.copied == 0


def test_layers_of_a_folder_are_known(tmp_path: Path) -> None:
    paths = [folder(tmp_path / f"m{i}", i) for i in range(2)]
    models = [
        {"model": str(path), "parameters": {"weight": weight}}
        for path, weight in zip(paths, ([1, 0], [0, 1]), strict=True)
    ]
    document = tiny.document({"merge_method": "linear", "models": models})
    made = onefold.merge_checkpoints(document, tmp_path / "out")
    merged, states = tiny.stored(made.path), [tiny.stored(path) for path in paths]
    for layer, share in enumerate((0.0, 0.5, 1.0)):
        key = f"blocks.{layer}.attn.qkv.weight"
        expected = (1 - share) * states[0][key] + share * states[1][key]
        torch.testing.assert_close(merged[key], expected)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_files_are_merged_into_a_file_that_timm_loads(tmp_path: Path, ending: str) -> None:
    paths = []
    for i in range(2):
        paths.append(tmp_path / f"m{i}.{ending}")
        if ending == "pth":  # as timm's training writes them
            torch.save({"state_dict": network(i).state_dict(), "epoch": 3}, paths[-1])
        else:
            save_file(network(i).state_dict(), paths[-1])
    onefold.merge_checkpoints(linear(paths), tmp_path / "out.safetensors")
    loaded = network(5)
    timm.models.load_checkpoint(loaded, str(tmp_path / "out.safetensors"))
    states = [network(i).state_dict() for i in range(2)]
    for key, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, 0.25 * states[0][key] + 0.75 * states[1][key])
