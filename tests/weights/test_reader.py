"""Checkpoints in every common form are read; damaged and unfit ones are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from states import plain, same
from torch import nn

import onefold
from onefold import weights
from onefold.errors import WeightsError


def test_several_files_and_their_index(tmp_path: Path) -> None:
    state = plain()
    parts = [{"a.weight": state["a.weight"]}, {"a.bias": state["a.bias"], "steps": state["steps"]}]
    files = [tmp_path / f"m-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for part, file in zip(parts, files, strict=True):
        save_file(part, file)
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(
        json.dumps(
            {
                "weight_map": {
                    name: file.name
                    for part, file in zip(parts, files, strict=True)
                    for name in part
                }
            }
        )
    )
    assert same(onefold.load(files), state)
    assert same(onefold.load(index), state)
    with pytest.raises(WeightsError, match=r"one of 2 shards.*index"):
        onefold.load(files[0])
    with pytest.raises(WeightsError, match="given twice"):
        onefold.load([files[0], files[0]])
    files[1].unlink()
    with pytest.raises(
        WeightsError,
        match=r"m-00002-of-00002.safetensors, which .*index.json names, does not exist",
    ):
        onefold.load(index)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no index"),
        ("[]", "no index"),
        ('{"weight_map": {}}', "names no tensors"),
        ('{"weight_map": {"a": "../b.safetensors"}}', "not beside it"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "not beside it"),
    ],
)
def test_bad_index(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "m.index.json").write_text(content)
    with pytest.raises(WeightsError, match=message):
        onefold.load(tmp_path / "m.index.json")


def test_index_that_contradicts_its_shards(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "y.safetensors")
    index = tmp_path / "m.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "x.safetensors", "c": "y.safetensors"}}))
    with pytest.raises(WeightsError, match="lacks 'c'"):
        onefold.load(index)
    index.write_text(json.dumps({"weight_map": {"a": "y.safetensors", "b": "x.safetensors"}}))
    with pytest.raises(
        WeightsError, match=r"'a' lies in .*x.safetensors, but the index says .*y.safetensors"
    ):
        onefold.load(index)


def test_missing_file_folder_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        onefold.load(tmp_path / "absent.pt")
    with pytest.raises(WeightsError, match="No checkpoint"):
        onefold.load([])
    with pytest.raises(WeightsError, match=r"holds no weights"):
        onefold.load(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        onefold.save({name: torch.ones(2)}, tmp_path / name)
    with pytest.raises(WeightsError, match=r"several files of weights .* name one of them"):
        onefold.load(tmp_path)
    (tmp_path / "a.safetensors").unlink()
    assert set(onefold.load(tmp_path)) == {"b.safetensors"}
    with pytest.raises(WeightsError, match="is a folder and no shard"):
        onefold.load([tmp_path, tmp_path / "b.safetensors"])
    (tmp_path / "text.pt").write_text("hello, this is text")
    with pytest.raises(WeightsError, match="neither a safetensors nor a torch file"):
        onefold.load(tmp_path / "text.pt")


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "my_own_name"])
def test_training_checkpoints(tmp_path: Path, key: str) -> None:
    network = nn.Linear(4, 3)
    torch.save(
        {"epoch": 3, key: network.state_dict(), "optimizer": {"state": {}, "lr": 0.1}},
        tmp_path / "a.pt",
    )
    checkpoint = weights.read(tmp_path / "a.pt")
    assert checkpoint.entry == key
    assert any(f"'{key}'" in note for note in checkpoint.notes)
    assert same(checkpoint.tensors, network.state_dict())


def test_one_of_several_state_dicts(tmp_path: Path) -> None:
    torch.save({"model_ema": plain(1), "model": plain(2)}, tmp_path / "a.pt")
    checkpoint = weights.read(tmp_path / "a.pt")
    assert checkpoint.entry == "model"
    assert any("'model_ema'" in note for note in checkpoint.notes)
    assert same(onefold.load(tmp_path / "a.pt", entry="model_ema"), plain(1))
    with pytest.raises(WeightsError, match="no state dict 'x'; it has 'model_ema', 'model'"):
        onefold.load(tmp_path / "a.pt", entry="x")


def test_entries_that_are_no_tensors(tmp_path: Path) -> None:
    torch.save({**plain(), "epoch": 3}, tmp_path / "a.pt")
    checkpoint = weights.read(tmp_path / "a.pt")
    assert same(checkpoint.tensors, plain())
    assert any("epoch" in note for note in checkpoint.notes)
    for content, message in (
        ({"epoch": 3}, "no tensors.*'epoch'"),
        ({}, "no tensors"),
        ([1], "holds a list"),
        (torch.ones(2), "holds a Tensor"),
    ):
        torch.save(content, tmp_path / "b.pt")
        with pytest.raises(WeightsError, match=message):
            weights.read(tmp_path / "b.pt")


@pytest.mark.parametrize("form", ["safetensors", "pt"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_is_filled_in_place(
    tmp_path: Path, form: str, training: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    source = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    onefold.save(source, tmp_path / f"a.{form}")
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).to(dtype).train(training)
    weight = model[0].weight
    assert onefold.load(tmp_path / f"a.{form}", model) is model
    assert model[0].weight is weight
    assert weight.dtype == dtype
    assert model.training is training
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value.to(model.state_dict()[name].dtype))


@pytest.mark.parametrize(
    "other",
    [
        nn.Linear(5, 3),
        nn.Sequential(nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)),
    ],
)
def test_a_network_that_does_not_fit_stays_as_it_is(tmp_path: Path, other: nn.Module) -> None:
    onefold.save(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), tmp_path / "a.pt")
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(WeightsError, match=r"a\.pt (does not fit|has all names)"):
        onefold.load(tmp_path / "a.pt", other)
    assert same(other.state_dict(), before)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("form", ["safetensors", "pt"])
def test_wrappers_prefixes_are_taken_off(tmp_path: Path, prefix: str, form: str) -> None:
    path = tmp_path / f"a.{form}"
    {"safetensors": save_file, "pt": torch.save}[form](
        {prefix + name: tensor for name, tensor in plain().items()}, path
    )
    checkpoint = weights.read(path)
    assert checkpoint.prefix == prefix
    assert any(prefix in note for note in checkpoint.notes)
    assert same(checkpoint.tensors, plain())


def test_a_prefix_that_not_every_name_has_stays(tmp_path: Path) -> None:
    save_file({"module.a": torch.ones(2), "head": torch.ones(2)}, tmp_path / "a.safetensors")
    assert set(weights.read(tmp_path / "a.safetensors").tensors) == {"module.a", "head"}


def test_averaged_model(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    torch.save(torch.optim.swa_utils.AveragedModel(network).state_dict(), tmp_path / "swa.pt")
    assert same(weights.read(tmp_path / "swa.pt").tensors, network.state_dict())


@pytest.mark.parametrize("form", ["safetensors", "pt"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_is_refused_by_name(tmp_path: Path, form: str, value: float) -> None:
    state = plain()
    state["a.bias"][1:] = value
    path = tmp_path / f"bad.{form}"
    {"safetensors": save_file, "pt": torch.save}[form](state, path)
    with pytest.raises(WeightsError, match=rf"bad\.{form} is not finite: 'a.bias' holds 2 NaN"):
        weights.read(path)
    assert same(weights.read(path, check_finite=False).tensors, state)


def test_the_shard_that_is_not_finite_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    save_file({"b": torch.tensor([float("nan")])}, tmp_path / "two.safetensors")
    with pytest.raises(WeightsError, match=r"two\.safetensors is not finite: 'b'"):
        weights.read([tmp_path / "one.safetensors", tmp_path / "two.safetensors"])


def test_mixed_and_overlapping_files(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    save_file({"a": torch.ones(2)}, tmp_path / "y.safetensors")
    torch.save({"b": torch.ones(2)}, tmp_path / "z.pt")
    with pytest.raises(WeightsError, match="'a' is both in"):
        weights.read([tmp_path / "x.safetensors", tmp_path / "y.safetensors"])
    with pytest.raises(WeightsError, match="different formats"):
        weights.read([tmp_path / "x.safetensors", tmp_path / "z.pt"])
