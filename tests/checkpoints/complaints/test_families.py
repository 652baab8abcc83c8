"""Complaints 11 and 12 of users of mergekit: networks of any family, without a list of names.

Source: the issues of github.com/arcee-ai/mergekit; the numbers stand with each test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from fine_tunes import family, linear, moved, put, ties, written
from torch import Tensor

import onefold as of

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 300,
}


def gemma() -> Any:
    """A vision-language network."""
    tf = tiny.transformers()
    text = {**SIZES, "num_key_value_heads": 1, "head_dim": 8}
    vision = {key: size for key, size in SIZES.items() if key != "vocab_size"}
    vision |= {"patch_size": 4, "image_size": 16}
    config = tf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return tf.Gemma3ForConditionalGeneration(config)


def phi() -> Any:
    tf = tiny.transformers()
    return tf.PhiForCausalLM(tf.PhiConfig(**SIZES))


def bert() -> Any:
    """An encoder for embeddings: no prefix and no head."""
    tf = tiny.transformers()
    return tf.BertModel(tf.BertConfig(**SIZES, max_position_embeddings=32))


def masked_bert() -> Any:
    """The same with a prefix and a head over the vocabulary."""
    tf = tiny.transformers()
    return tf.BertForMaskedLM(tf.BertConfig(**SIZES, max_position_embeddings=32))


def clip() -> Any:
    """Two towers, with a scale that is a single number."""
    tf = tiny.transformers()
    text = {**SIZES, "max_position_embeddings": 16, "eos_token_id": 2}
    vision = {key: size for key, size in SIZES.items() if key != "vocab_size"}
    vision |= {"patch_size": 4, "image_size": 16}
    return tf.CLIPModel(tf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


def mamba() -> Any:
    tf = tiny.transformers()
    config = tf.MambaConfig(vocab_size=300, hidden_size=16, num_hidden_layers=2, state_size=4)
    return tf.MambaForCausalLM(config)


FAMILIES: dict[str, Callable[[], Any]] = {
    "gemma": gemma,
    "phi": phi,
    "bert": bert,
    "masked bert": masked_bert,
    "clip": clip,
    "mamba": mamba,
    "vit": tiny.vit,
}


# 576, 434, 537; 381, 286, 284, 239
@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_of_any_family_is_merged_and_loads(tmp_path: Path, name: str) -> None:
    """Complaints 11 and 12: 'unsupported architecture', or a list that lacks tensors."""
    paths = family(tmp_path, FAMILIES[name])
    document = written(tmp_path / "c.yml", ties(paths, parameters={"lambda": 0.5}))
    made = of.merge_checkpoints(document, tmp_path / "o")
    base, merged = tiny.stored(Path(paths[0])), tiny.stored(made.path)
    assert set(merged) == set(base)
    changed = [key for key, tensor in merged.items() if not torch.equal(tensor, base[key])]
    assert set(changed) == {key for key, tensor in base.items() if tensor.is_floating_point()}
    network = type(FAMILIES[name]()).from_pretrained(made.path)
    network.save_pretrained(tmp_path / "again")
    again = tiny.stored(tmp_path / "again")
    assert set(again) == set(merged)
    assert all(torch.equal(again[key], tensor) for key, tensor in merged.items())


# 537
def test_passthrough_of_a_vision_language_network_copies_it(tmp_path: Path) -> None:
    """Complaint 11: passthrough of such a network is refused."""
    (path,) = family(tmp_path, gemma, 0)
    content = {"merge_method": "passthrough", "models": [{"model": path}]}
    made = of.merge_checkpoints(written(tmp_path / "c.yml", content), tmp_path / "o")
    own, merged = tiny.stored(Path(path)), tiny.stored(made.path)
    assert set(own) == set(merged)
    assert all(torch.equal(merged[name], tensor) for name, tensor in own.items())


def random(seed: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def pipeline(folder: Path, seed: int) -> str:
    """A folder as diffusers writes it."""
    index = {"_class_name": "FluxPipeline", "_diffusers_version": "0.30.0"}
    index |= {"transformer": ["diffusers", "FluxTransformer2DModel"]}
    index |= {"vae": ["diffusers", "AutoencoderKL"]}
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "transformer": {
            f"transformer_blocks.{i}.attn.to_{part}.weight": (8, 8)
            for i in range(3)
            for part in "qkv"
        },
        "vae": {"encoder.conv_in.weight": (4, 3, 3, 3), "quant_conv.bias": (4,)},
    }
    for name, wanted in shapes.items():
        state = random(seed, wanted)
        put(folder / name, state, {"_class_name": name})
        weights = folder / name / "model.safetensors"
        weights.rename(weights.with_name("diffusion_pytorch_model.safetensors"))
    (folder / "model_index.json").write_text(json.dumps(index))
    return str(folder)


# 433
def test_a_pipeline_of_diffusion_is_merged_component_by_component(tmp_path: Path) -> None:
    """Complaint 11: networks of diffusion are undocumented and lose their folders."""
    paths = [pipeline(tmp_path / name, seed) for seed, name in enumerate("ab")]
    document = written(tmp_path / "c.yml", linear(paths, 0.25, 0.75))
    made = of.merge_checkpoints(document, tmp_path / "o")
    for component in ("transformer", "vae"):
        first, second, merged = (
            tiny.stored(Path(path) / component) for path in (*paths, str(made.path))
        )
        assert set(merged) == set(first)
        for name, tensor in merged.items():
            torch.testing.assert_close(tensor, 0.25 * first[name] + 0.75 * second[name])
    assert (made.path / "model_index.json").is_file()


# 284, 239
def test_networks_of_one_family_with_and_without_a_prefix(tmp_path: Path) -> None:
    """Complaint 12: a prefix in front of the names of one model, as "bert.", makes it unknown.

    The names of the model that is listed first decide, or those of the base. The other's prefix is
    put in front or taken away, and a note says so. A head that one of them lacks is copied.
    """
    headed, bare = tmp_path / "a", tmp_path / "b"
    tiny.write(headed, masked_bert(), 0)
    tiny.write(bare, bert(), 1)
    for name, models in {"o": (headed, bare), "p": (bare, headed)}.items():
        document = written(tmp_path / "c.yml", linear([str(model) for model in models], 1.0, 3.0))
        made = of.merge_checkpoints(document, tmp_path / name)
        merged, first, second = (tiny.stored(x) for x in (made.path, *models))
        assert set(merged) == set(first)
        for key, tensor in merged.items():
            other = second.get(key.removeprefix("bert."), second.get(f"bert.{key}"))
            told = first[key] if other is None else 0.25 * first[key] + 0.75 * other
            torch.testing.assert_close(tensor, told)
        assert any("stands for" in note for note in made.notes)


# 381, 286
def test_names_that_nobody_has_seen_are_merged_by_layer(tmp_path: Path) -> None:
    """Complaint 12: a network of one's own needs a table of its architecture first."""
    shapes: dict[str, tuple[int, ...]] = {"stem.w": (4, 3)}
    shapes |= {f"body.7b.blok.{i}.mixer_2.kernel": (4, 4) for i in range(3)}
    states = [random(seed, shapes) for seed in range(2)]
    paths = [put(tmp_path / str(i), state) for i, state in enumerate(states)]
    content = {
        "merge_method": "linear",
        "models": [
            {"model": paths[0], "parameters": {"weight": [1.0, 0.0]}},
            {"model": paths[1], "parameters": {"weight": [0.0, 1.0]}},
        ],
    }
    made = of.merge_checkpoints(written(tmp_path / "c.yml", content), tmp_path / "o")
    merged = tiny.stored(made.path)
    for layer, share in ((0, 0.0), (1, 0.5), (2, 1.0)):
        name = f"body.7b.blok.{layer}.mixer_2.kernel"
        expected = (1 - share) * states[0][name] + share * states[1][name]
        torch.testing.assert_close(merged[name], expected)


# 286
def test_a_fine_tune_without_a_config_is_merged_with_its_base(tmp_path: Path) -> None:
    """Complaint 12: a folder whose config names no architecture is refused."""
    base, tuned = family(tmp_path, tiny.llama, 1)
    put(Path(tuned), moved(tiny.stored(Path(base)), 5))
    (Path(tuned) / "config.json").unlink()
    made = of.merge_checkpoints(written(tmp_path / "c.yml", ties([base, tuned])), tmp_path / "o")
    assert set(tiny.stored(made.path)) == set(tiny.stored(Path(base)))
