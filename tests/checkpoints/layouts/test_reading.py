"""Folders and files of weights are found, and refused where they cannot be merged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import save_file

from onefold.checkpoints.layouts import is_vocabulary, read_layout
from onefold.errors import WeightsError


def test_a_folder_of_transformers_in_shards(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "m", tiny.llama(), 0)
    tiny.llama().save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    whole, shards = read_layout(folder), read_layout(tmp_path / "shards")
    assert len(shards.files) > 2
    assert {n: h.shape for n, h in whole.tensors.items()} == {
        n: h.shape for n, h in shards.tensors.items()
    }
    assert shards.layers == whole.layers == 3
    assert whole.tied
    held = whole.tensors["model.norm.weight"]
    with open(held.file, "rb") as file:
        file.seek(held.begin or 0)
        data = file.read(held.nbytes)
    assert torch.equal(
        torch.frombuffer(bytearray(data), dtype=torch.float32),
        tiny.stored(folder)["model.norm.weight"],
    )


def test_torch_files_and_single_files(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2, 3).half()}, tmp_path / "pytorch_model.bin")
    for path in (tmp_path, tmp_path / "pytorch_model.bin"):
        held = read_layout(path).tensors["a"]
        assert (held.dtype, held.shape, held.begin) == ("float16", (2, 3), None)


@pytest.mark.parametrize(
    ("name", "told"),
    [("w.qweight", "GPTQ or AWQ"), ("w.absmax", "bitsandbytes"), ("w.weight_scale_inv", "fp8")],
)
def test_quantised_tensors_are_refused(tmp_path: Path, name: str, told: str) -> None:
    save_file({name: torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=f"quantised.*{told}.*quantise the result"):
        read_layout(tmp_path)


def test_quantised_configs_files_and_dtypes_are_refused(tmp_path: Path) -> None:
    state = {"w": torch.zeros(2).to(torch.float8_e4m3fn)}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="float8_e4m3fn"):
        read_layout(tmp_path)
    config = {"quantization_config": {"quant_method": "gptq"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="quantised by gptq"):
        read_layout(tmp_path)
    (tmp_path / "a.gguf").touch()
    with pytest.raises(WeightsError, match="GGUF"):
        read_layout(tmp_path / "a.gguf")


def test_folders_without_one_set_of_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights"):
        read_layout(tmp_path)
    for name in ("a", "b"):
        save_file({"w": torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match="name one of them"):
        read_layout(tmp_path)
    (tmp_path / "adapter_config.json").touch()
    with pytest.raises(WeightsError, match="adapter"):
        read_layout(tmp_path)
    (tmp_path / "model_index.json").touch()
    with pytest.raises(WeightsError, match="pipeline"):
        read_layout(tmp_path)


def test_vocabularies_are_known_by_name_or_by_the_config() -> None:
    assert is_vocabulary("model.embed_tokens.weight", (10, 4), {})
    assert is_vocabulary("own.table", (5000, 4), {"vocab_size": 5000})
    assert not is_vocabulary("own.table", (4, 5000), {"vocab_size": 5000})


def test_planning_imports_no_torch(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "m", tiny.llama(), 0)
    code = (
        "import sys, onefold\n"
        "from onefold.checkpoints.document import parse_documents\n"
        f"text = 'merge_method: linear\\nmodels: [{{model: {folder}}}]\\n'\n"
        "text += 'parameters: {weight: 1}'\n"
        "document = parse_documents(text, 'it')[0]\n"
        f"made = onefold.merge_checkpoints(document, {str(tmp_path / 'out')!r}, dry_run=True)\n"
        "assert made.merged and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
