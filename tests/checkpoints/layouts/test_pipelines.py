"""Folders of several networks: pipelines of diffusers, modules of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import onefold
from onefold.checkpoints.layouts import read_layout
from onefold.errors import MembersError, OutputError, RecipeError, WeightsError

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


def random(seed: int, names: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in names.items()}


def unet(seed: int) -> dict[str, Tensor]:
    names: dict[str, tuple[int, ...]] = {"conv_in.weight": (4, 3, 3, 3), "conv_in.bias": (4,)}
    names |= {f"down_blocks.{i}.attn.to_q.weight": (8, 8) for i in range(3)}
    return random(seed, names)


def vae(seed: int) -> dict[str, Tensor]:
    return random(100 + seed, {"encoder.conv_in.weight": (4, 3, 3, 3), "quant_conv.bias": (4,)})


def diffusion(folder: Path, seed: int) -> Path:
    """A pipeline as diffusers writes it, with a text encoder of transformers."""
    folder.mkdir()
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.30.0",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "BertModel"],
        "tokenizer": ["transformers", "BertTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "safety_checker": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    for name, state in (("unet", unet(seed)), ("vae", vae(seed))):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({"_class_name": name, "n": 1}))
        save_file(state, folder / name / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    for name in ("scheduler", "tokenizer"):
        (folder / name).mkdir()
        (folder / name / f"{name}_config.json").write_text(json.dumps({"of": folder.name}))
    tiny.write(folder / "text_encoder", tiny.bert().bert, seed)
    (folder / "text_encoder" / "pytorch_model.bin").write_bytes(b"another copy")
    return folder


def linear(paths: Any, weights: tuple[float, ...] = (0.25, 0.75), **more: Any) -> Any:
    models = [
        {"model": str(path), "parameters": {"weight": weight}}
        for path, weight in zip(paths, weights, strict=True)
    ]
    return tiny.document({"merge_method": "linear", "models": models, **more})


@pytest.fixture
def pipelines(tmp_path: Path) -> list[Path]:
    return [diffusion(tmp_path / name, seed) for seed, name in enumerate("ab")]


@pytest.mark.parametrize("size", ["5GB", "1KB"])
def test_every_component_is_merged_and_all_else_is_the_donors(
    tmp_path: Path, pipelines: list[Path], size: str
) -> None:
    made = onefold.merge_checkpoints(linear(pipelines), tmp_path / "out", max_shard_size=size)
    out = made.path
    for name in ("unet", "vae", "text_encoder"):
        states = [tiny.stored(path / name) for path in pipelines]
        merged = tiny.stored(out / name)
        assert set(merged) == set(states[0])
        for key, tensor in merged.items():
            torch.testing.assert_close(tensor, 0.25 * states[0][key] + 0.75 * states[1][key])
    network = tiny.transformers().BertModel.from_pretrained(out / "text_encoder")
    assert torch.equal(
        network.state_dict()["pooler.dense.weight"],
        tiny.stored(out / "text_encoder")["pooler.dense.weight"],
    )
    index = out / "unet/diffusion_pytorch_model.safetensors.index.json"
    assert index.is_file() is (size == "1KB")
    if size == "1KB":
        listed = json.loads(index.read_text())["weight_map"]
        assert set(listed) == set(unet(0))
        assert all((out / "unet" / file).is_file() for file in listed.values())
    for copied in (
        "model_index.json",
        "unet/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer_config.json",
    ):
        assert (out / copied).read_bytes() == (pipelines[0] / copied).read_bytes()
    assert not (out / "text_encoder/pytorch_model.bin").exists()
    assert "library_name: diffusers" in (out / "README.md").read_text()
    assert not (out / "mergekit_config.yml").exists()  # mergekit merges no pipelines


def test_filters_name_components(tmp_path: Path, pipelines: list[Path]) -> None:
    weight = [{"filter": "vae/", "value": 0.0}, {"value": 1.0}]
    models = [
        {"model": str(pipelines[0]), "parameters": {"weight": 1.0}},
        {"model": str(pipelines[1]), "parameters": {"weight": weight}},
    ]
    document = tiny.document({"merge_method": "linear", "models": models})
    made = onefold.merge_checkpoints(document, tmp_path / "out")
    merged = load_file(made.path / VAE)
    assert all(torch.equal(tensor, merged[name]) for name, tensor in vae(0).items())
    halves = load_file(made.path / UNET)
    first, second = unet(0), unet(1)
    assert all(
        torch.allclose(halves[name], (first[name] + second[name]) / 2, atol=1e-6) for name in first
    )


def test_modules_name_components_and_others_are_copied(
    tmp_path: Path, pipelines: list[Path]
) -> None:
    weights = [[1.0, 0.0], [0.0, 1.0]]  # over the layers of the component
    models = [
        {"model": str(path), "parameters": {"weight": weight}}
        for path, weight in zip(pipelines, weights, strict=True)
    ]
    content = {"merge_method": "linear", "modules": {"unet": {"models": models}}}
    made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    merged = load_file(made.path / UNET)
    first, second = unet(0), unet(1)
    for layer, share in enumerate((0.0, 0.5, 1.0)):
        name = f"down_blocks.{layer}.attn.to_q.weight"
        torch.testing.assert_close(merged[name], (1 - share) * first[name] + share * second[name])
    copied = load_file(made.path / VAE)
    assert all(torch.equal(tensor, copied[name]) for name, tensor in vae(0).items())
    assert "no module names them" in " ".join(made.notes)


def test_modules_have_weights_of_their_own(tmp_path: Path, pipelines: list[Path]) -> None:
    def listed(*weights: float) -> Any:
        return [
            {"model": str(path), "parameters": {"weight": weight}}
            for path, weight in zip(pipelines, weights, strict=True)
        ]

    modules = {"vae": {"models": listed(1.0, 0.0)}, "unet": {"models": listed(0.0, 1.0)}}
    document = tiny.document({"merge_method": "linear", "modules": modules})
    made = onefold.merge_checkpoints(document, tmp_path / "out")
    assert torch.equal(load_file(made.path / VAE)["quant_conv.bias"], vae(0)["quant_conv.bias"])
    assert torch.equal(load_file(made.path / UNET)["conv_in.bias"], unet(1)["conv_in.bias"])


def refused(document: Any, out: Path, told: str) -> None:
    with pytest.raises((MembersError, WeightsError, RecipeError), match=told):
        onefold.merge_checkpoints(document, out)
    assert not out.exists()


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, pipelines: list[Path]) -> None:
    out = tmp_path / "out"
    (pipelines[1] / VAE).unlink()
    refused(linear(pipelines), out, r"b lacks vae, unlike .*a; pipelines")
    refused(linear([pipelines[0], pipelines[0] / "vae"]), out, r"lacks text_encoder, unet, vae")
    models = [{"model": str(pipelines[0]), "parameters": {"weight": 1.0}}]
    content = {"merge_method": "linear", "modules": {"unets": {"models": models}}}
    document = tiny.document(
        {**content, "modules": {**content["modules"], "unet": {"models": models}}}
    )  # type: ignore[dict-item]
    refused(document, out, "no component 'unets'; they have")
    slices = [{"sources": [{"model": str(pipelines[0]), "layer_range": [0, 1]}]}]
    document = tiny.document(
        {"merge_method": "linear", "slices": slices, "parameters": {"weight": 1}}
    )
    refused(document, out, "cannot be put together by slices")
    (pipelines[0] / "model_index.json").write_text("{")
    refused(linear(pipelines), out, "list of the components of a pipeline, cannot be read")


def test_tokenizers_that_differ_are_refused_by_folder(
    tmp_path: Path, pipelines: list[Path]
) -> None:
    for path, last in zip(pipelines, ("c", "d"), strict=True):
        tiny.with_tokenizer(path / "tokenizer", {"a": 0, "b": 1, last: 2})
        (path / "tokenizer/tokenizer_config.json").write_text("{}")
    refused(linear(pipelines), tmp_path / "out", r"differ in 2 tokens .*in the folder 'tokenizer'")
    tiny.with_tokenizer(pipelines[1] / "tokenizer", {"a": 0, "b": 1, "c": 2})
    made = onefold.merge_checkpoints(linear(pipelines), tmp_path / "out")
    assert (made.path / "tokenizer/tokenizer.json").is_file()


@pytest.mark.parametrize("place", ["..", "../b/unet", "deep/unet", "/tmp"])
def test_components_outside_of_the_folder_are_refused(
    tmp_path: Path, pipelines: list[Path], place: str
) -> None:
    index = json.loads((pipelines[0] / "model_index.json").read_text())
    (pipelines[0] / "deep/unet").mkdir(parents=True)
    (pipelines[0] / "model_index.json").write_text(json.dumps({**index, place: ["a", "B"]}))
    refused(linear(pipelines), tmp_path / "out", "which is not a folder in it")


def test_a_damaged_file_of_a_component_is_found(
    tmp_path: Path, pipelines: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onefold.checkpoints.engine import merging

    before = merging.write_beside

    def damage(plan: Any, report: Any, folder: Path, *more: Any) -> Any:
        found = before(plan, report, folder, *more)
        data = bytearray((folder / VAE).read_bytes())
        data[-1] ^= 0x10
        (folder / VAE).write_bytes(bytes(data))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(merging, "write_beside", damage)
        with pytest.raises(OutputError, match=rf"{VAE} holds other values"):
            onefold.merge_checkpoints(linear(pipelines), tmp_path / "out")
    made = onefold.merge_checkpoints(linear(pipelines), tmp_path / "out")
    assert made.resumed == 2


def test_torch_files_of_components_become_safetensors_of_the_right_name(tmp_path: Path) -> None:
    paths = []
    for seed, name in enumerate("ab"):
        folder = diffusion(tmp_path / name, seed)
        (folder / UNET).unlink()
        torch.save(unet(seed), folder / "unet/diffusion_pytorch_model.bin")
        paths.append(folder)
    made = onefold.merge_checkpoints(linear(paths), tmp_path / "out")
    merged = load_file(made.path / UNET)
    torch.testing.assert_close(
        merged["conv_in.weight"],
        0.25 * unet(0)["conv_in.weight"] + 0.75 * unet(1)["conv_in.weight"],
    )
    assert not (made.path / "unet/diffusion_pytorch_model.bin").exists()


def test_variants_keep_their_names_and_their_index(tmp_path: Path) -> None:
    paths = []
    for seed, name in enumerate("ab"):
        folder = diffusion(tmp_path / name, seed)
        (folder / UNET).rename(folder / "unet/diffusion_pytorch_model.fp16.safetensors")
        (folder / "unet/diffusion_pytorch_model.safetensors.index.fp16.json").write_text("{}")
        paths.append(folder)
    made = onefold.merge_checkpoints(linear(paths), tmp_path / "out")
    assert (made.path / "unet/diffusion_pytorch_model.fp16.safetensors").is_file()
    assert not list((made.path / "unet").glob("*.index.*"))
    many = onefold.merge_checkpoints(linear(paths), tmp_path / "many", max_shard_size=500)
    index = many.path / "unet/diffusion_pytorch_model.safetensors.index.fp16.json"
    files = set(json.loads(index.read_text())["weight_map"].values())
    assert all((index.parent / file).is_file() for file in files)
    assert all(file.startswith("diffusion_pytorch_model.fp16-0000") for file in files)


def sentences(folder: Path, seed: int, inner: str, torch_file: bool = False) -> Path:
    """A folder as sentence-transformers writes it, with weights in a dense layer."""
    folder.mkdir()
    kinds = [("0", inner, "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Dense", "Dense")]
    modules = [
        {"idx": int(n), "name": n, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, path, kind in kinds
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text("{}")
    tiny.write(folder / inner, tiny.bert().bert, seed)
    for name, config in (("1_Pooling", {"pooling_mode": "mean"}), ("2_Dense", {"in_features": 16})):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
    dense = random(50 + seed, {"linear.weight": (4, 16), "linear.bias": (4,)})
    if torch_file:
        torch.save(dense, folder / "2_Dense/pytorch_model.bin")
    else:
        save_file(dense, folder / "2_Dense/model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("inner", ["", "0_Transformer"])
@pytest.mark.parametrize("torch_file", [False, True])
def test_modules_of_sentence_transformers_with_weights_are_merged(
    tmp_path: Path, inner: str, torch_file: bool
) -> None:
    paths = [sentences(tmp_path / name, i, inner, torch_file) for i, name in enumerate("ab")]
    made = onefold.merge_checkpoints(linear(paths, dtype="bfloat16"), tmp_path / "out")
    merged = load_file(made.path / "2_Dense/model.safetensors")
    states = [random(50 + i, {"linear.weight": (4, 16), "linear.bias": (4,)}) for i in range(2)]
    for name, tensor in merged.items():
        rounded = [state[name].bfloat16().float() for state in states]
        expected = (0.25 * rounded[0] + 0.75 * rounded[1]).bfloat16()
        assert torch.equal(tensor, expected)
    assert not (made.path / "2_Dense/pytorch_model.bin").exists()
    for file in ("modules.json", "1_Pooling/config.json", "2_Dense/config.json"):
        assert (made.path / file).read_bytes() == (paths[0] / file).read_bytes()
    network = tiny.transformers().BertModel.from_pretrained(made.path / inner)
    own = tiny.stored(made.path / inner)
    assert torch.equal(network.state_dict()["pooler.dense.bias"], own["pooler.dense.bias"].float())
    assert "bfloat16" in (made.path / inner / "config.json").read_text()


def test_names_of_components_are_outermost(tmp_path: Path, pipelines: list[Path]) -> None:
    layout = read_layout(pipelines[0])
    assert set(layout.components) == {"text_encoder", "unet", "vae"}
    assert layout.tensors["unet/conv_in.weight"].key == "conv_in.weight"
    plain = read_layout(sentences(tmp_path / "s", 0, ""))
    assert set(plain.components) == {"2_Dense"}
    assert "embeddings.word_embeddings.weight" in plain.tensors
    assert "2_Dense/linear.weight" in plain.tensors
