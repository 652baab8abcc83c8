"""Checkpoints in every common form are read; damaged, unsafe and unfit ones are refused in one
sentence that names the file.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

import onefold
from onefold import weights
from onefold.errors import WeightsError
from onefold.sources.networks import digits


def same(a: Any, b: Any) -> bool:
    return weights.state_checksum(a) == weights.state_checksum(b)


def plain(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(3, 4, generator=generator),
        "a.bias": torch.randn(3, generator=generator),
        "steps": torch.tensor(7),
    }


def raw(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(begin: int = 0, end: int = 8, dtype: str = "F32", shape: Any = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


class Runs:
    """A pickle that would create a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_safetensors_stay_on_disk_until_read(tmp_path: Path) -> None:
    save_file(plain(), tmp_path / "a.safetensors", metadata={"note": "x"})
    checkpoint = weights.read(tmp_path / "a.safetensors")
    assert isinstance(checkpoint.tensors, weights.LazyState)
    assert (checkpoint.format, checkpoint.metadata, checkpoint.notes, checkpoint.prefix) == (
        "safetensors",
        {"note": "x"},
        [],
        "",
    )
    assert checkpoint.tensors.shape("a.weight") == (3, 4)
    assert same(checkpoint.tensors, plain())


def test_loaded_tensors_do_not_depend_on_the_file(tmp_path: Path) -> None:
    for name, write in (("a.safetensors", save_file), ("a.pt", torch.save)):
        write(plain(), tmp_path / name)
        state = onefold.load(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        with open(
            tmp_path / name, "r+b"
        ) as file:  # overwritten in place: a memory-mapped tensor would change
            file.write(bytes(len(data)))
        assert same(state, plain())


def test_lazy_state_says_when_its_file_is_gone(tmp_path: Path) -> None:
    save_file(plain(), tmp_path / "a.safetensors")
    state = weights.read(tmp_path / "a.safetensors", check_finite=False).tensors
    fresh = weights.LazyState(
        {name: (tmp_path / "gone.safetensors", name, state._places[name][2]) for name in state}
    )
    with pytest.raises(WeightsError, match="cannot be read any more"):
        fresh["a.bias"]


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


@pytest.mark.parametrize(
    ("header", "data", "length", "message"),
    [
        (b"", b"", 2**63, "claims"),
        (b"{}", b"", 500, "cut short"),
        (b"{nonsense", b"", None, "not JSON"),
        (b"[1, 2]", b"", None, "not a table"),
        (b'{"a": 1, "a": 2}', b"", None, "twice"),
        (b"\xff\xfe{}", b"", None, "not JSON"),
        (b"[" * 100_000, b"", None, "not JSON"),
        ({"a": entry()}, b"1234", None, "cut short: 'a' ends at byte 8 .* only 4"),
        ({"a": entry()}, b"12345678extra", None, "5 bytes after"),
        ({"a": entry(0, 8), "b": entry(4, 12)}, b"x" * 12, None, "'b' overlap those of 'a'"),
        ({"a": entry(0, 8), "b": entry(12, 20)}, b"x" * 20, None, "4 bytes before 'b'"),
        ({"a": entry(8, 0)}, b"x" * 8, None, "offsets of 'a'"),
        ({"a": entry(-8, 0)}, b"x" * 8, None, "offsets of 'a'"),
        ({"a": entry(0, 4)}, b"x" * 4, None, "needs 8 bytes"),
        ({"a": entry(shape=(-2,))}, b"x" * 8, None, "shape of 'a'"),
        ({"a": entry(shape=(2**40, 2**40))}, b"x" * 8, None, "needs"),
        ({"a": entry(dtype="F4")}, b"x" * 8, None, "dtype 'F4'"),
        ({"a": {"dtype": "F32"}}, b"", None, "entry of 'a'"),
        ({"__metadata__": {"k": 1}, "a": entry()}, b"x" * 8, None, "metadata"),
        ({}, b"", None, "no tensors"),
    ],
)
def test_damaged_safetensors_headers(
    tmp_path: Path, header: Any, data: bytes, length: int | None, message: str
) -> None:
    path = raw(tmp_path / "bad.safetensors", header, data, length)
    with pytest.raises(WeightsError, match=message) as caught:
        weights.read(path)
    assert "bad.safetensors" in str(caught.value)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.floats(0, 1, exclude_max=True), form=st.sampled_from(["safetensors", "pt"]))
def test_every_truncation_is_refused(tmp_path: Path, cut: float, form: str) -> None:
    whole = tmp_path / f"whole.{form}"
    if not whole.exists():
        onefold.save(digits(4), whole)
    data = whole.read_bytes()
    part = tmp_path / f"part.{form}"
    part.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(WeightsError, match=r"part\."):
        weights.read(part)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=200), form=st.sampled_from(["safetensors", "pt"]))
def test_arbitrary_bytes_never_crash(tmp_path: Path, data: bytes, form: str) -> None:
    path = tmp_path / f"noise.{form}"
    path.write_bytes(data)
    with pytest.raises(WeightsError):
        weights.read(path)


def test_missing_file_folder_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        onefold.load(tmp_path / "absent.pt")
    with pytest.raises(WeightsError, match="No checkpoint"):
        onefold.load([])
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"is a folder.*model\.safetensors"):
        onefold.load(tmp_path)
    (tmp_path / "text.pt").write_text("hello, this is text")
    with pytest.raises(WeightsError, match="neither a safetensors nor a torch file"):
        onefold.load(tmp_path / "text.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "made-by-the-pickle"
    torch.save(
        {"a": torch.ones(2), "evil": Runs(target)},
        tmp_path / "evil.pt",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(
        WeightsError,
        match=r"evil\.pt wants to run code \((posix|nt|os)\.mkdir\).*refused.*safetensors",
    ):
        weights.read(tmp_path / "evil.pt")
    assert not target.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)  # negative control: it would have
    assert target.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_pickled_network_is_refused(tmp_path: Path, zipped: bool) -> None:
    torch.save(
        nn.Sequential(nn.Linear(2, 2)), tmp_path / "net.pt", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(
        WeightsError, match=r"whole pickled network \(torch\.nn.*Sequential\).*state_dict"
    ):
        weights.read(tmp_path / "net.pt")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "net.pt"))
    with pytest.raises(WeightsError, match="TorchScript"):
        weights.read(tmp_path / "net.pt")


def test_the_format_before_torch_1_6(tmp_path: Path) -> None:
    torch.save(plain(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(onefold.load(tmp_path / "old.pt"), plain())


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "my_own_name"])
def test_training_checkpoints(tmp_path: Path, key: str) -> None:
    network = nn.Linear(4, 3)
    torch.save(
        {"epoch": 3, key: network.state_dict(), "optimizer": {"state": {}, "lr": 0.1}},
        tmp_path / "a.pt",
    )
    checkpoint = weights.read(tmp_path / "a.pt")
    assert checkpoint.subdictionary == key
    assert any(f"'{key}'" in note for note in checkpoint.notes)
    assert same(checkpoint.tensors, network.state_dict())


def test_one_of_several_state_dicts(tmp_path: Path) -> None:
    torch.save({"model_ema": plain(1), "model": plain(2)}, tmp_path / "a.pt")
    checkpoint = weights.read(tmp_path / "a.pt")
    assert checkpoint.subdictionary == "model"
    assert any("'model_ema'" in note for note in checkpoint.notes)
    assert same(onefold.load(tmp_path / "a.pt", subdictionary="model_ema"), plain(1))
    with pytest.raises(WeightsError, match="no state dict 'x'; it has 'model_ema', 'model'"):
        onefold.load(tmp_path / "a.pt", subdictionary="x")


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
