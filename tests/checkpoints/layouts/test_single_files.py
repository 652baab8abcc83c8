"""Single files of Stable Diffusion and others become one file, with the metadata of its kind."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import onefold
from onefold.checkpoints import compare_checkpoints
from onefold.checkpoints.engine.journal import staging_folder
from onefold.checkpoints.engine.merging import Settings, merge_documents
from onefold.errors import OutputError

SPEC = {
    "modelspec.sai_model_spec": "1.0.0",
    "modelspec.architecture": "stable-diffusion-v1",
    "modelspec.implementation": "sgm",
    "modelspec.resolution": "512x512",
    "modelspec.title": "First, of all",
    "modelspec.date": "2023-07-16",
    "modelspec.hash_sha256": "0x00",
    "modelspec.hash_md5": "0x11",
}
QUERY = "model.diffusion_model.input_blocks.1.1.to_q.weight"
POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
EMA = "model_ema.diffusion_modelinput_blocks11to_qweight"


def state(seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    names = {
        QUERY: (8, 8),
        "first_stage_model.decoder.conv_in.weight": (4, 3, 3, 3),
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": (8,),
    }
    found: dict[str, Tensor] = {
        name: torch.randn(shape, generator=g).half() for name, shape in names.items()
    }
    found[POSITIONS] = torch.arange(77)[None]
    found["alphas_cumprod"] = torch.linspace(0.9, 0.1, 10)
    return found


def file(path: Path, seed: int, metadata: dict[str, str] | None = None, **more: Tensor) -> Path:
    save_file({**state(seed), **more}, path, {"format": "pt", **(metadata or {})})
    return path


def linear(*paths: Path, weights: tuple[float, ...] = (0.5, 1.0), **more: Any) -> Any:
    models = [
        {"model": str(path), "parameters": {"weight": weight}}
        for path, weight in zip(paths, weights, strict=True)
    ]
    content = {"merge_method": "linear", "models": models, "parameters": {"normalize": False}}
    return tiny.document({**content, **more})


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as opened:
        return load_file(path), opened.metadata()


def test_files_become_one_file_with_the_metadata_of_their_kind(tmp_path: Path) -> None:
    first = file(tmp_path / "first.safetensors", 0, SPEC)
    second = file(tmp_path / "second.safetensors", 1)
    out = tmp_path / "mixed up.safetensors"
    made = onefold.merge_checkpoints(linear(first, second), out)
    assert made.path == out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "first.safetensors",
        "mixed up.safetensors",
        "second.safetensors",
    ]
    merged, metadata = read(out)
    expected = 0.5 * state(0)[QUERY].float() + state(1)[QUERY].float()
    torch.testing.assert_close(merged[QUERY].float(), expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(merged[POSITIONS], torch.arange(77)[None])
    assert torch.equal(merged["alphas_cumprod"], state(0)["alphas_cumprod"])
    assert "2 tensors were copied" in " ".join(made.notes)
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1"
    assert metadata["modelspec.resolution"] == "512x512"
    assert metadata["modelspec.title"] == "mixed up"
    assert metadata["modelspec.merged_from"] == "First  of all, second"
    assert "modelspec.date" not in metadata
    assert "modelspec.hash_md5" not in metadata
    data = out.read_bytes()
    tensors = data[8 + int.from_bytes(data[:8], "little") :]
    assert metadata["modelspec.hash_sha256"] == "0x" + hashlib.sha256(tensors).hexdigest()
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
    models = json.loads(metadata["sd_merge_models"])
    assert [models[one]["name"] for one in hashes] == [first.name, second.name]
    assert models[hashes[0]]["sd_merge_recipe"] is None
    assert len(models[hashes[0]]["legacy_hash"]) == 8
    recipe = json.loads(metadata["sd_merge_recipe"])
    assert recipe["primary_model_hash"] == hashes[0]
    assert recipe["secondary_model_hash"] == hashes[1]
    assert recipe["tertiary_model_hash"] is None
    assert recipe["interp_method"] == "linear"


def test_ancestors_are_handed_down_and_told(tmp_path: Path) -> None:
    paths = [file(tmp_path / f"{name}.safetensors", i) for i, name in enumerate("abc")]
    ab = tmp_path / "ab.safetensors"
    onefold.merge_checkpoints(linear(*paths[:2]), ab)
    out = tmp_path / "abc.safetensors"
    made = onefold.merge_checkpoints(linear(ab, paths[2]), out)
    assert "says that it was merged from a.safetensors, b.safetensors." in " ".join(made.notes)
    models = json.loads(read(out)[1]["sd_merge_models"])
    names = {one["name"] for one in models.values()}
    assert names == {"a.safetensors", "b.safetensors", "c.safetensors", "ab.safetensors"}
    own = models[hashlib.sha256(ab.read_bytes()).hexdigest()]
    assert own["sd_merge_recipe"]["interp_method"] == "linear"
    compared = compare_checkpoints([ab, paths[2]])
    assert compared.ancestors == {"ab.safetensors": ("a.safetensors", "b.safetensors")}
    told = [one for one in compared.advice if "says that it was merged from" in one]
    assert told == ["ab.safetensors says that it was merged from a.safetensors, b.safetensors."]


def test_other_files_have_no_metadata_of_stable_diffusion(tmp_path: Path) -> None:
    paths = []
    for i in range(2):
        paths.append(tmp_path / f"{i}.safetensors")
        save_file({"fc.weight": torch.full((2, 2), float(i))}, paths[-1])
    onefold.merge_checkpoints(linear(*paths), tmp_path / "out.safetensors")
    merged, metadata = read(tmp_path / "out.safetensors")
    assert torch.equal(merged["fc.weight"], torch.ones(2, 2))
    assert set(metadata) == {"format", "merge_method", "merged_from", "onefold_document"}


@pytest.mark.parametrize("having", [1, 2])
def test_averages_of_weights_are_merged_where_all_have_them(tmp_path: Path, having: int) -> None:
    paths = []
    for i in range(2):
        more = {EMA: torch.full((8, 8), 1.0 + i), "model_ema.decay": torch.tensor(0.99 + i)}
        more = more if i < having else {}
        paths.append(file(tmp_path / f"{i}.safetensors", i, None, **more))
    made = onefold.merge_checkpoints(linear(*paths), tmp_path / "out.safetensors")
    merged, _ = read(made.path)
    told = " ".join(made.notes)
    if having == 1:
        assert EMA not in merged
        assert "model_ema.decay" not in merged
        assert "averages of weights (model_ema.*, 2 tensors)" in told
    else:
        assert torch.equal(merged[EMA], torch.full((8, 8), 2.5))
        assert merged["model_ema.decay"] == torch.tensor(0.99)
        assert "merged like weights" in told


def test_positions_that_are_floats_are_copied(tmp_path: Path) -> None:
    paths = [
        file(tmp_path / f"{i}.safetensors", i, None, **{POSITIONS: torch.arange(77.0)[None]})
        for i in range(2)
    ]
    made = onefold.merge_checkpoints(linear(*paths), tmp_path / "out.safetensors")
    assert torch.equal(read(made.path)[0][POSITIONS], torch.arange(77.0)[None])
    assert "as they are constants" in " ".join(made.notes)


def test_what_cannot_be_one_file_is_refused(tmp_path: Path) -> None:
    first = file(tmp_path / "a.safetensors", 0)
    second = file(tmp_path / "b.safetensors", 1)
    folder = tmp_path / "folder"
    folder.mkdir()
    file(folder / "model.safetensors", 1)
    out = tmp_path / "out.safetensors"
    with pytest.raises(OutputError, match=r"name of a file, and .*folder is a folder"):
        onefold.merge_checkpoints(linear(first, folder), out)
    out.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        onefold.merge_checkpoints(linear(first, second), out)
    onefold.merge_checkpoints(linear(first, second), out, force=True)
    assert read(out)[0][QUERY].shape == (8, 8)
    made = onefold.merge_checkpoints(linear(first, second), tmp_path / "as_folder")
    assert (made.path / "model.safetensors").is_file()


def test_a_damaged_single_file_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onefold.checkpoints.engine import merging

    paths = [file(tmp_path / f"{name}.safetensors", i) for i, name in enumerate("ab")]
    out, before = tmp_path / "out.safetensors", merging.fill_hashes

    def damage(plan: Any, written: Path, hashes: Any) -> None:
        before(plan, written, hashes)
        data = bytearray(written.read_bytes())
        data[-1] ^= 0x40
        written.write_bytes(bytes(data))

    with monkeypatch.context() as patched:
        patched.setattr(merging, "fill_hashes", damage)
        with pytest.raises(OutputError, match="holds other values"):
            onefold.merge_checkpoints(linear(*paths), out)
    assert not out.exists()
    onefold.merge_checkpoints(linear(*paths), out)
    assert out.is_file()
    assert not staging_folder(out).exists()


def test_the_same_merge_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [file(tmp_path / f"{i}.safetensors", i, SPEC) for i in range(2)]
    outs = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        outs.append(tmp_path / name / "out.safetensors")
        onefold.merge_checkpoints(linear(*paths), outs[-1], threads=1 + len(outs))
    assert outs[0].read_bytes() == outs[1].read_bytes()


def merge_and_die(paths: list[Path], out: Path) -> None:
    def told(file: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    merge_documents([linear(*paths)], out, Settings(1, 10**6, 10**9, told=told))


@pytest.mark.skipif(os.name == "nt", reason="there is no such signal")
def test_a_killed_merge_into_a_file_is_gone_on_with(tmp_path: Path) -> None:
    paths = [file(tmp_path / f"{i}.safetensors", i, SPEC) for i in range(2)]
    out = tmp_path / "out.safetensors"
    context = multiprocessing.get_context("fork")
    process = context.Process(target=merge_and_die, args=(paths, out))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not out.exists()
    made = onefold.merge_checkpoints(linear(*paths), out)
    assert made.resumed == 1
    (tmp_path / "x").mkdir()
    onefold.merge_checkpoints(linear(*paths), tmp_path / "x" / "out.safetensors")
    assert out.read_bytes() == (tmp_path / "x" / "out.safetensors").read_bytes()


def test_the_command_writes_a_file(tmp_path: Path) -> None:
    paths = [file(tmp_path / f"{i}.safetensors", i) for i in range(2)]
    out = tmp_path / "out.safetensors"
    command = [sys.executable, "-m", "onefold", "merge", *map(str, paths), "--method", "linear"]
    run = subprocess.run(
        [*command, "--weight", "1", "-o", str(out)], capture_output=True, text=True, check=True
    )
    assert f"metadata of {paths[0]}" in run.stdout
    assert read(out)[0][QUERY].shape == (8, 8)
