"""Documents that merge the modules of a network one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

import onefold
from onefold.checkpoints.document import Place, Reference
from onefold.checkpoints.layouts import read_layout
from onefold.checkpoints.plan.regions import regions_of
from onefold.errors import MembersError, RecipeError, WeightsError

WEIGHTS = {"first": 0.2, "second": 0.5, "third": 0.9}  # of the second model, by module


def t5() -> Any:
    tf = tiny.transformers()
    config = tf.T5Config(
        vocab_size=300, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_decoder_layers=3, num_heads=2
    )
    return tf.T5ForConditionalGeneration(config)


def whisper() -> Any:
    tf = tiny.transformers()
    config = tf.WhisperConfig(
        vocab_size=300,
        d_model=16,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        num_mel_bins=8,
        max_source_positions=20,
        max_target_positions=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return tf.WhisperForConditionalGeneration(config)


def gemma() -> Any:
    tf = tiny.transformers()
    text = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "vocab_size": 300,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 4,
        "image_size": 16,
    }
    config = tf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return tf.Gemma3ForConditionalGeneration(config)


def qwen() -> Any:
    tf = tiny.transformers()
    text = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 300,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
    }
    vision = {
        "depth": 2,
        "embed_dim": 16,
        "hidden_size": 16,
        "num_heads": 2,
        "patch_size": 4,
        "mlp_ratio": 2,
    }
    numbers = {
        "image_token_id": 5,
        "video_token_id": 6,
        "vision_start_token_id": 7,
        "vision_end_token_id": 8,
    }
    config = tf.Qwen2VLConfig(text_config=text, vision_config=vision, **numbers)
    return tf.Qwen2VLForConditionalGeneration(config)


# Beginnings of names, the longest of which counts, and the module that the tensors belong to.
FAMILIES: dict[str, tuple[Any, tuple[str, ...], dict[str, str]]] = {
    "t5": (
        t5,
        ("encoder", "decoder", "shared"),
        {"encoder.": "encoder", "decoder.": "decoder", "shared.": "shared"},
    ),
    "whisper": (
        whisper,
        ("decoder", "encoder"),
        {"model.encoder.": "encoder", "model.decoder.": "decoder"},
    ),
    "gemma": (
        gemma,
        ("text_decoder", "multi_modal_projector", "vision_tower"),
        {
            "language_model.": "text_decoder",
            "multi_modal_projector.": "multi_modal_projector",
            "vision_tower.": "vision_tower",
        },
    ),
    "qwen": (
        qwen,
        ("text_decoder", "multi_modal_projector", "vision_tower"),
        {
            "model.": "text_decoder",
            "lm_head.": "text_decoder",
            "visual.": "vision_tower",
            "visual.merger.": "multi_modal_projector",
        },
    ),
}


def pair(folder: Path, family: str) -> list[str]:
    build = FAMILIES[family][0]
    return [str(tiny.write(folder / f"m{seed}", build(), seed)) for seed in range(2)]


def linear(paths: list[str], weights: dict[str, float], **more: Any) -> Any:
    modules = {
        name: {
            "models": [
                {"model": paths[0], "parameters": {"weight": 1 - weight}},
                {"model": paths[1], "parameters": {"weight": weight}},
            ]
        }
        for name, weight in weights.items()
    }
    return tiny.document({"merge_method": "linear", "modules": modules, **more})


def same(network: Any, folder: Path) -> None:
    """Whether what transformers read is what is stored."""
    network.save_pretrained(folder.parent / "again")
    again = tiny.stored(folder.parent / "again")
    stored = tiny.stored(folder)
    assert set(again) <= set(stored)
    assert all(torch.equal(again[name], stored[name]) for name in again)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_each_module_has_weights_of_its_own(tmp_path: Path, family: str) -> None:
    _, names, owners = FAMILIES[family]
    paths = pair(tmp_path, family)
    weights = dict(zip(names, WEIGHTS.values(), strict=False))
    made = onefold.merge_checkpoints(linear(paths, weights), tmp_path / "out")
    first, second = (tiny.stored(Path(path)) for path in paths)
    merged = tiny.stored(made.path)
    assert set(merged) == set(first)
    assert made.copied == 0
    for name, tensor in merged.items():
        begin = max((one for one in owners if name.startswith(one)), key=len)
        weight = weights[owners[begin]]
        expected = (1 - weight) * first[name] + weight * second[name]
        torch.testing.assert_close(tensor, expected, msg=lambda text, name=name: f"{name}: {text}")
    same(type(FAMILIES[family][0]()).from_pretrained(made.path), made.path)


def test_what_is_in_no_module_is_copied_and_told(tmp_path: Path) -> None:
    paths = pair(tmp_path, "gemma")
    document = linear(paths, {"text_decoder": 0.5}, base_model=paths[1])
    made = onefold.merge_checkpoints(document, tmp_path / "out")
    first, second = (tiny.stored(Path(path)) for path in paths)
    merged = tiny.stored(made.path)
    assert set(merged) == set(second)
    for name, tensor in merged.items():
        text = name.startswith("language_model.")
        expected = (first[name] + second[name]) / 2 if text else second[name]
        torch.testing.assert_close(tensor, expected)
    count = sum(not name.startswith("language_model.") for name in merged)
    told = f"{count} tensors were copied from {paths[1]}, as no module names them"
    assert told in " ".join(made.notes)
    assert made.donor == paths[1]


def test_a_text_model_is_merged_into_the_decoder_of_a_vision_language_model(tmp_path: Path) -> None:
    """Its names have another prefix, and its head stands elsewhere."""
    whole = pair(tmp_path, "qwen")[0]
    other = tiny.write(tmp_path / "other", qwen(), 5)
    state = {
        name.replace("model.", "model.language_model.", 1): tensor
        for name, tensor in tiny.stored(other).items()
        if name.startswith("model.")
    }
    (tmp_path / "text").mkdir()
    save_file(state, tmp_path / "text" / "model.safetensors")
    config = {"tie_word_embeddings": True, "vocab_size": 300}
    (tmp_path / "text" / "config.json").write_text(json.dumps(config))
    document = linear([whole, str(tmp_path / "text")], {"text_decoder": 0.25})
    made = onefold.merge_checkpoints(document, tmp_path / "out")
    first, merged = tiny.stored(Path(whole)), tiny.stored(made.path)
    assert set(merged) == set(first)
    for name, tensor in merged.items():
        if name.startswith("visual."):
            assert torch.equal(tensor, first[name])
            continue
        key = "model.embed_tokens.weight" if name == "lm_head.weight" else name
        own = state[key.replace("model.", "model.language_model.", 1)]
        torch.testing.assert_close(tensor, 0.75 * first[name] + 0.25 * own)
    same(type(qwen()).from_pretrained(made.path), made.path)


def layers_of(tensors: dict[str, Tensor], prefix: str) -> int:
    found = {name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)}
    return len(found)


@pytest.mark.parametrize(
    ("family", "module", "prefix", "key"),
    [
        ("t5", "decoder", "decoder.block.", "num_decoder_layers"),
        ("t5", "encoder", "encoder.block.", "num_layers"),
        ("whisper", "decoder", "model.decoder.layers.", "decoder_layers"),
        ("whisper", "encoder", "model.encoder.layers.", "encoder_layers"),
        ("qwen", "text_decoder", "model.layers.", "text_config.num_hidden_layers"),
        ("qwen", "vision_tower", "visual.blocks.", "vision_config.depth"),
        (
            "gemma",
            "vision_tower",
            "vision_tower.encoder.layers.",
            "vision_config.num_hidden_layers",
        ),
    ],
)
def test_slices_of_a_module_change_its_number_of_layers_alone(
    tmp_path: Path, family: str, module: str, prefix: str, key: str
) -> None:
    build, names, _ = FAMILIES[family]
    paths = pair(tmp_path, family)
    old = layers_of(tiny.stored(Path(paths[0])), prefix)
    slices = [
        {"sources": [{"model": paths[0], "layer_range": [0, old]}]},
        {"sources": [{"model": paths[1], "layer_range": [old - 1, old]}]},
    ]
    modules: dict[str, Any] = {name: {"models": [{"model": paths[0]}]} for name in names}
    modules[module] = {"slices": slices}
    document = tiny.document({"merge_method": "passthrough", "modules": modules})
    made = onefold.merge_checkpoints(document, tmp_path / "out")
    first, second, merged = (tiny.stored(path) for path in (*map(Path, paths), made.path))
    assert layers_of(merged, prefix) == old + 1
    assert set(first) <= set(merged)
    for name, tensor in merged.items():
        if name.startswith(f"{prefix}{old}."):
            source = name.replace(f"{prefix}{old}.", f"{prefix}{old - 1}.", 1)
            assert torch.equal(tensor, second[source])
        elif name.startswith(prefix):
            assert torch.equal(tensor, first[name])
    before, config = (
        json.loads((path / "config.json").read_text()) for path in (Path(paths[0]), made.path)
    )
    *way, last = key.split(".")
    place, part = before, config
    for one in way:
        place, part = place[one], part[one]
    assert part[last] == old + 1
    part[last] = old
    for each in ("layer_types",):
        if each in place:
            part[each] = place[each]
    for one in (before, config):
        one.pop("dtype", None)
    assert config == before
    _, told = type(build()).from_pretrained(made.path, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]


def test_shortened_modules_leave_no_layer_behind(tmp_path: Path) -> None:
    paths = pair(tmp_path, "t5")
    source = {"sources": [{"model": paths[0], "layer_range": [1, 3]}]}
    content = {"merge_method": "passthrough", "modules": {"decoder": {"slices": [source]}}}
    made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    merged, first = tiny.stored(made.path), tiny.stored(Path(paths[0]))
    assert layers_of(merged, "decoder.block.") == 2
    for name, tensor in merged.items():
        if name.startswith("decoder.block."):
            number = int(name.split(".")[2]) + 1
            name = ".".join([*name.split(".")[:2], str(number), *name.split(".")[3:]])
        assert torch.equal(tensor, first[name])
    assert "as no module names them: " in " ".join(made.notes)
    assert layers_of(merged, "encoder.block.") == 2


@pytest.mark.parametrize(
    ("family", "name", "told"),
    [
        ("t5", "text_decoder", r"No tensors of .*m0 are told by the module 'text_decoder'.*: dec"),
        ("gemma", "audio_tower", "told by the module 'audio_tower'; write one of their prefixes"),
        (
            "qwen",
            "decodr",
            "as the module's name: lm_head, model, model.embed_tokens, model.layers",
        ),
    ],
)
def test_a_module_that_cannot_be_told(tmp_path: Path, family: str, name: str, told: str) -> None:
    paths = pair(tmp_path, family)
    with pytest.raises(MembersError, match=told):
        onefold.merge_checkpoints(linear(paths, {name: 0.5}), tmp_path / "out")


def test_modules_that_mean_the_same_or_several(tmp_path: Path) -> None:
    paths = pair(tmp_path, "qwen")
    with pytest.raises(MembersError, match="'vision_tower' and 'visual' mean the same"):
        onefold.merge_checkpoints(
            linear(paths, {"vision_tower": 0.5, "visual": 0.5}), tmp_path / "out"
        )
    state = {f"{side}.encoder.layers.{i}.w": torch.ones(4) for side in "ab" for i in range(2)}
    for seed, path in enumerate(("x", "y")):
        (tmp_path / path).mkdir()
        save_file({**state, "c": torch.ones(1) * seed}, tmp_path / path / "model.safetensors")
    paths = [str(tmp_path / "x"), str(tmp_path / "y")]
    with pytest.raises(MembersError, match=r"under 'a\.encoder' or 'b\.encoder'; write one"):
        onefold.merge_checkpoints(linear(paths, {"encoder": 0.5}), tmp_path / "out")
    made = onefold.merge_checkpoints(linear(paths, {"b.encoder": 0.5}), tmp_path / "out")
    assert (made.merged, made.copied) == (2, 3)


def test_what_is_wrong_in_one_module_is_told_before_anything_is_read(tmp_path: Path) -> None:
    paths = pair(tmp_path, "t5")
    source = {"sources": [{"model": paths[0], "layer_range": [1, 9]}]}
    content = {"merge_method": "passthrough", "modules": {"decoder": {"slices": [source]}}}
    with pytest.raises(RecipeError, match=r"ends behind the last layer of .* which has 3"):
        onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    config = json.loads((Path(paths[0]) / "config.json").read_text())
    del config["num_decoder_layers"]
    (Path(paths[0]) / "config.json").write_text(json.dumps(config))
    source["sources"][0]["layer_range"] = [1, 3]
    with pytest.raises(WeightsError, match="3 layers for the module 'decoder'"):
        onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tensors_of_the_language_are_told_from_parts_with_layers_of_their_own(
    tmp_path: Path,
) -> None:
    """One prefix holds the layers of the text and, below it, a vision tower and a projector."""
    names = [
        "model.embed_tokens.weight",
        "model.layers.0.w",
        "model.layers.1.w",
        "model.norm.weight",
        "model.vision_tower.blocks.0.w",
        "model.vision_tower.blocks.1.w",
        "model.vision_tower.norm.weight",
        "lm_head.weight",
    ]
    save_file({name: torch.ones(4, 2) for name in names}, tmp_path / "model.safetensors")
    layout, model = read_layout(tmp_path), Reference(Place("m"))
    found = regions_of(model, layout, ["text_decoder"], ["text_decoder"])["text_decoder"]
    assert set(found.inner.values()) == {n for n in names if "vision" not in n}
    assert found.inner["lm_head.weight"] == "lm_head.weight"
    assert found.layers == 2
    assert found.name("layers.7.w") == "model.layers.7.w"


def test_modules_of_different_models(tmp_path: Path) -> None:
    """A model that one module lists need not have anything to do with another."""
    paths = pair(tmp_path, "t5")
    third = str(tiny.write(tmp_path / "third", t5(), 7))
    listed = [[paths[0], paths[1]], [paths[0], third]]
    modules = {
        name: {"models": [{"model": path, "parameters": {"weight": 1.0}} for path in models]}
        for name, models in zip(("encoder", "decoder"), listed, strict=True)
    }
    document = tiny.document({"merge_method": "linear", "modules": modules})
    made = onefold.merge_checkpoints(document, tmp_path / "out")
    first, second, other = (tiny.stored(Path(path)) for path in (*paths, third))
    for name, tensor in tiny.stored(made.path).items():
        partner = {"encoder": second, "decoder": other}.get(name.split(".")[0], first)
        torch.testing.assert_close(tensor, (first[name] + partner[name]) / 2)
