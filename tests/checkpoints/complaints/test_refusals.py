"""Complaints 13 to 17 of users of mergekit: what onefold does not merge is told with a way out.

Source: the issues of github.com/arcee-ai/mergekit; the numbers stand with each test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
import torch
from fine_tunes import family, linear, put, ties, written
from safetensors.torch import save_file

import onefold as of

Refused = Callable[..., str]


def gptq(folder: Path) -> str:
    state = {"model.layers.0.mlp.up_proj.qweight": torch.zeros(4, 4, dtype=torch.int32)}
    return put(folder, state, {"model_type": "llama"})


def awq(folder: Path) -> str:
    state = {"model.norm.weight": torch.ones(4)}
    return put(folder, state, {"quantization_config": {"quant_method": "awq", "bits": 4}})


def bitsandbytes(folder: Path) -> str:
    state = {
        "model.layers.0.mlp.up_proj.weight": torch.zeros(8, 1, dtype=torch.uint8),
        "model.layers.0.mlp.up_proj.weight.absmax": torch.ones(1),
    }
    return put(folder, state, {"model_type": "llama"})


def gguf(folder: Path) -> str:
    folder.mkdir(parents=True)
    (folder / "model-q4_0.gguf").write_bytes(b"GGUF" + bytes(60))
    return str(folder)


def gguf_file(folder: Path) -> str:
    return gguf(folder) + "/model-q4_0.gguf"


# 494, 75
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (gptq, "GPTQ or AWQ"),
        (awq, "by awq"),
        (bitsandbytes, "bitsandbytes"),
        (gguf, "holds GGUF files"),
        (gguf_file, "is a GGUF file"),
    ],
)
def test_quantised_models_are_refused_by_their_kind(
    tmp_path: Path, refused: Refused, make: Callable[[Path], str], kind: str
) -> None:
    """Complaint 13: a quantised model ends in an error that does not say what is wrong."""
    base, tuned = family(tmp_path, tiny.llama, 1)
    quantised = make(tmp_path / "quantised")
    document = written(tmp_path / "c.yml", ties([base, tuned, quantised]))
    told = refused("merge", document, "-o", tmp_path / "o")
    assert quantised.split("/model-")[0] in told
    assert kind in told
    assert told.endswith(
        "merge the model in float32, bfloat16 or float16, and quantise the result."
    )
    assert not (tmp_path / "o").exists()


# 494
def test_8_bit_floats_with_scales_are_merged_as_the_numbers_that_they_stand_for(
    tmp_path: Path,
) -> None:
    """Complaint 13: models published in fp8 cannot be merged."""
    name = "model.layers.0.mlp.up_proj.weight"
    numbers = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor(0.01)
    stored = (numbers / scale).to(torch.float8_e4m3fn)
    told = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    small = put(
        tmp_path / "fp8",
        {name: stored, f"{name}_scale_inv": scale.view(1, 1)},
        {"model_type": "llama", **told},
    )
    plain = put(tmp_path / "plain", {name: numbers}, {"model_type": "llama"})
    made = of.merge_checkpoints(written(tmp_path / "c.yml", linear([plain, small])), tmp_path / "o")
    merged = tiny.stored(made.path)
    assert set(merged) == {name}
    torch.testing.assert_close(merged[name], (numbers + stored.float() * scale) / 2)


def adapter(folder: Path, base: str) -> str:
    folder.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    name = "base_model.model.model.layers.0.mlp.up_proj"
    state = {f"{name}.lora_A.weight": torch.ones(2, 16), f"{name}.lora_B.weight": torch.ones(24, 2)}
    save_file(state, folder / "adapter_model.safetensors")
    return str(folder)


# 442, 470
def test_an_adapter_alone_is_refused_with_its_base_and_the_way_out(
    tmp_path: Path, refused: Refused
) -> None:
    """Complaint 14: an adapter in place of a model crashes."""
    base, tuned = family(tmp_path, tiny.llama, 1)
    lora = adapter(tmp_path / "lora", "org/some-base")
    document = written(tmp_path / "c.yml", ties([base, tuned, lora]))
    told = refused("merge", document, "-o", tmp_path / "o")
    assert f"{lora} holds an adapter" in told
    assert "its base is org/some-base" in told
    assert "merge_and_unload of peft" in told


# 442, 470
def test_a_model_with_an_adapter_behind_a_plus_is_refused_with_the_way_out(
    tmp_path: Path, refused: Refused
) -> None:
    """Complaint 14: 'model+lora' needs a cache folder that nobody asked for."""
    base, tuned = family(tmp_path, tiny.llama, 1)
    lora = adapter(tmp_path / "lora", base)
    document = written(tmp_path / "c.yml", ties([base, tuned, f"{base}+{lora}"]))
    told = refused("merge", document, "-o", tmp_path / "o")
    assert "adapter" in told
    assert "merge_and_unload" in told


# 521, 328
def test_there_is_no_command_that_extracts_adapters(refused: Refused) -> None:
    """Complaint 15: extracted adapters differ from one version to the next; onefold makes none."""
    told = refused("extract-lora", "--model", "a", "--base-model", "b")
    assert "There is no command 'extract-lora'; see `onefold --help`" in told


MIXTURE = """base_model: org/a
gate_mode: hidden
experts:
  - source_model: org/b
    positive_prompts: ["code"]
"""
SEARCH = """genome:
  models: [org/a, org/b]
  merge_method: dare_ties
  base_model: org/base
tasks:
  - {name: gsm8k, weight: 1.0}
"""


# 582, 626, 395, 352, 481; 341, 514, 532, 305
@pytest.mark.parametrize("way", [(), ("--as-mergekit",)])
@pytest.mark.parametrize(
    ("text", "line", "program"), [(MIXTURE, 3, "mergekit-moe"), (SEARCH, 1, "mergekit-evolve")]
)
def test_documents_of_other_programs_are_told_as_such(
    tmp_path: Path, refused: Refused, text: str, line: int, program: str, way: tuple[str, ...]
) -> None:
    """Complaints 16 and 17: mixtures and searches end without saying why; onefold has neither."""
    (tmp_path / "c.yml").write_text(text)
    told = refused("merge", tmp_path / "c.yml", "-o", tmp_path / "o", *way)
    assert f"line {line}" in told
    assert f"this is a document of {program}" in told


# 582
def test_a_mixture_as_a_method_is_sent_to_its_program(tmp_path: Path, refused: Refused) -> None:
    """Complaint 16: as above, with the name that people write as a method."""
    told = refused("merge", "a", "b", "--method", "moe", "-o", tmp_path / "o")
    assert "mixtures of experts are made by mergekit-moe, not here" in told


# 352, 481
def test_mixtures_of_one_kind_are_merged_expert_by_expert(tmp_path: Path) -> None:
    """Complaint 16: fine-tunes of a mixture lose experts; here every tensor has its own."""
    tf = tiny.transformers()

    def mixture() -> object:
        config = tf.Qwen2MoeConfig(
            hidden_size=16,
            intermediate_size=24,
            moe_intermediate_size=8,
            shared_expert_intermediate_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            num_experts=4,
            vocab_size=300,
        )
        return tf.Qwen2MoeForCausalLM(config)

    paths = family(tmp_path, mixture)
    made = of.merge_checkpoints(written(tmp_path / "c.yml", linear(paths[1:])), tmp_path / "o")
    merged = tiny.stored(made.path)
    first, second = (tiny.stored(Path(path)) for path in paths[1:])
    assert set(merged) == set(first)
    assert any("experts" in name for name in merged)
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, (first[name] + second[name]) / 2)
    again = type(mixture()).from_pretrained(made.path)
    again.save_pretrained(tmp_path / "again")
    for name, tensor in tiny.stored(tmp_path / "again").items():
        assert torch.equal(tensor, merged[name]), name
