"""What is written comes back; an output appears in full or not at all, and nothing is replaced
unasked.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold import weights
from onefold.errors import OutputError, WeightsError
from onefold.sources.networks import digits

FORMS = ("safetensors", "pt")


def same(a: object, b: object) -> bool:
    return weights.state_checksum(a) == weights.state_checksum(b)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("form", FORMS)
def test_round_trip_of_network_and_state(tmp_path: Path, form: str) -> None:
    network = digits(4)
    before = weights.state_checksum(network.state_dict())
    assert onefold.save(network, tmp_path / f"a.{form}") == tmp_path / f"a.{form}"
    onefold.save(network.state_dict(), tmp_path / f"b.{form}")
    for name in ("a", "b"):
        assert same(onefold.load(tmp_path / f"{name}.{form}"), network.state_dict())
    assert weights.state_checksum(network.state_dict()) == before
    assert names(tmp_path) == [f"a.{form}", f"b.{form}"]


@pytest.mark.parametrize("form", FORMS)
def test_all_dtypes_views_and_empty_tensors_come_back(tmp_path: Path, form: str) -> None:
    base = torch.randn(6, 8)
    state = {
        "bf16": torch.randn(3).bfloat16(),
        "half": torch.randn(3).half(),
        "double": torch.randn(3).double(),
        "long": torch.tensor(5),
        "bool": torch.ones(2, dtype=torch.bool),
        "transposed": base.t(),
        "row": base[2],
        "overlap": base[2:4],
        "empty": torch.empty(0, 3),
        "empty2": torch.empty(0, 3),
        "expanded": torch.ones(1).expand(4),
    }
    onefold.save(state, tmp_path / f"a.{form}")
    back = onefold.load(tmp_path / f"a.{form}")
    assert set(back) == set(state)
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_a_view_does_not_drag_its_whole_storage_along(tmp_path: Path) -> None:
    onefold.save({"row": torch.randn(1000, 1000)[0]}, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 20_000


@pytest.mark.parametrize("form", FORMS)
def test_tied_weights_are_stored_once_and_come_back(tmp_path: Path, form: str) -> None:
    network = nn.Sequential(nn.Embedding(100, 50), nn.Linear(50, 100, bias=False))
    network[1].weight = network[0].weight
    onefold.save(network, tmp_path / f"a.{form}")
    assert (tmp_path / f"a.{form}").stat().st_size < 1.5 * 100 * 50 * 4
    back = onefold.load(tmp_path / f"a.{form}")
    assert same(back, network.state_dict())
    fresh = nn.Sequential(nn.Embedding(100, 50), nn.Linear(50, 100, bias=False))
    weights.load_into(fresh, back, "a")
    assert torch.equal(fresh[1].weight, network[0].weight)


@pytest.mark.parametrize("form", FORMS)
def test_metadata(tmp_path: Path, form: str) -> None:
    onefold.save(digits(4), tmp_path / f"a.{form}", metadata={"recipe": "x: 1"})
    assert weights.read(tmp_path / f"a.{form}").metadata == {"recipe": "x: 1"}
    assert "recipe" not in onefold.load(tmp_path / f"a.{form}")


def test_plain_torch_files_need_no_onefold_to_load(tmp_path: Path) -> None:
    network = digits(4)
    onefold.save(network, tmp_path / "a.pt")
    digits(4).load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "no tensors"),
        ({"a": torch.tensor([float("nan")])}, "not finite"),
        ({"a": 3}, "'a' is a int"),
        ([1], "from a list"),
    ],
)
def test_unfit_states_are_not_written(tmp_path: Path, state: object, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        onefold.save(state, tmp_path / "a.safetensors")  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_non_finite_values_can_be_written_on_purpose(tmp_path: Path) -> None:
    onefold.save(
        {"a": torch.tensor([float("nan")])}, tmp_path / "a.safetensors", check_finite=False
    )
    assert onefold.load(tmp_path / "a.safetensors", check_finite=False)["a"].isnan().all()


@pytest.mark.parametrize("form", FORMS)
def test_an_existing_output_is_kept_without_force(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    onefold.save({"a": torch.ones(2)}, path)
    with pytest.raises(OutputError, match=r"exists already.*--force"):
        onefold.save({"a": torch.zeros(2)}, path)
    assert onefold.load(path)["a"].sum() == 2
    onefold.save({"a": torch.zeros(2)}, path, force=True)
    assert onefold.load(path)["a"].sum() == 0


def test_impossible_places(tmp_path: Path) -> None:
    state = {"a": torch.ones(2)}
    (tmp_path / "folder.pt").mkdir()
    for path, message in (
        (tmp_path / "no" / "a.pt", "does not exist; create it"),
        (tmp_path / "folder.pt", "it is a folder"),
        (tmp_path / "a.onnx", "unknown suffix '.onnx'"),
        (tmp_path / ("x" * 300 + ".pt"), "name too long"),
    ):
        with pytest.raises(OutputError, match=f"(?i){message}"):
            onefold.save(state, path, force=True)
    with pytest.raises(OutputError, match="only safetensors"):
        onefold.save(state, tmp_path / "a.pt", max_shard_bytes=10)
    with pytest.raises(OutputError, match="at least 1"):
        onefold.save(state, tmp_path / "a.safetensors", max_shard_bytes=0)


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.pt").symlink_to(tmp_path / "real" / "a.pt")
    onefold.save({"a": torch.ones(2)}, tmp_path / "link.pt")
    assert (tmp_path / "link.pt").is_symlink()
    assert names(tmp_path / "real") == ["a.pt"]


def test_writing_over_a_file_that_is_being_read(tmp_path: Path) -> None:
    for form in FORMS:
        path = tmp_path / f"a.{form}"
        onefold.save(digits(4), path)
        lazy = weights.read(path).tensors
        doubled = {name: tensor * 2 for name, tensor in lazy.items()}
        onefold.save(doubled, path, force=True)
        assert same(onefold.load(path), doubled)
        assert same(
            {name: tensor * 2 for name, tensor in lazy.items()}, doubled
        )  # still the old values


def test_shards_and_their_index(tmp_path: Path) -> None:
    network = digits(8)
    index = onefold.save(
        network, tmp_path / "m.safetensors", max_shard_bytes=4000, metadata={"k": "v"}
    )
    assert index.name == "m.safetensors.index.json"
    shards = [tmp_path / name for name in names(tmp_path) if name.endswith(".safetensors")]
    assert len(shards) > 2
    assert shards[0].name == f"m-00001-of-{len(shards):05d}.safetensors"
    checkpoint = weights.read(index)
    assert same(checkpoint.tensors, network.state_dict())
    assert checkpoint.metadata == {"k": "v"}
    assert same(onefold.load(shards), network.state_dict())
    listed = json.loads(index.read_text())
    assert listed["metadata"]["total_size"] == sum(
        t.numel() * t.element_size() for t in network.state_dict().values()
    )
    largest = max(t.numel() * t.element_size() for t in network.state_dict().values())
    for shard in shards:
        assert shard.stat().st_size <= max(4000, largest) + 4000


def test_tied_weights_across_shards(tmp_path: Path) -> None:
    shared = torch.randn(100)
    state = {"a": shared, "b": torch.randn(100), "c": shared}
    index = onefold.save(state, tmp_path / "m.safetensors", max_shard_bytes=400)
    assert same(onefold.load(index), state)


def test_shards_replace_a_single_file_and_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    (tmp_path / "m-notes.safetensors").write_bytes(b"somebody else's")
    onefold.save(digits(4), path)
    with pytest.raises(OutputError, match="--force"):
        onefold.save(digits(8), path, max_shard_bytes=4000)
    many = onefold.save(digits(8), path, max_shard_bytes=4000, force=True)
    assert not path.exists()
    few = onefold.save(digits(8), path, max_shard_bytes=12_000, force=True)
    assert few == many
    assert len(weights.read(few).paths) == len([name for name in names(tmp_path) if "-of-" in name])
    with pytest.raises(OutputError, match=r"index.json exists.*--force"):
        onefold.save(digits(4), path)
    onefold.save(digits(4), path, force=True)
    assert names(tmp_path) == ["m-notes.safetensors", "m.safetensors"]


@pytest.mark.parametrize(
    ("form", "shard"), [("safetensors", None), ("safetensors", 4000), ("pt", None)]
)
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_output(
    tmp_path: Path, form: str, shard: int | None, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"m.{form}"
    old = onefold.save(digits(8), path, max_shard_bytes=shard)
    before, content = names(tmp_path), weights.state_checksum(onefold.load(old))
    with monkeypatch.context() as patch:
        patch.setattr(os, function, full_disk)
        with pytest.raises(OutputError, match="the disk is full; free some space"):
            onefold.save(digits(8), path, max_shard_bytes=shard, force=True)
    if (shard, function) == (
        4000,
        "replace",
    ):  # the renames themselves failed: then there is no checkpoint, never a mixed one
        assert not old.exists()
        return
    assert names(tmp_path) == before
    assert weights.state_checksum(onefold.load(old)) == content


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_device(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_text("begun")
        with open("/dev/full", "wb") as file:
            file.write(b"x" * 100_000)

    weights.atomic_write(tmp_path / "a.json", "old")
    with pytest.raises(OutputError, match=r"a\.json cannot be written: the disk is full"):
        weights.atomic_write(tmp_path / "a.json", write, force=True)
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


LIMITED = """
import resource, sys, torch, onefold
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for name in sys.argv[1:]:
    try:
        onefold.save({"a": torch.zeros(100_000)}, name, force=True)
    except onefold.OnefoldError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_the_operating_system_refuses_half_way(tmp_path: Path) -> None:
    paths = [tmp_path / f"a.{form}" for form in FORMS]
    for path in paths:
        onefold.save({"a": torch.ones(3)}, path)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("would be larger than allowed") == 2, done.stdout + done.stderr
    assert names(tmp_path) == ["a.pt", "a.safetensors"]
    assert all(onefold.load(path)["a"].sum() == 3 for path in paths)


def test_atomic_write_takes_bytes_text_and_functions(tmp_path: Path) -> None:
    weights.atomic_write(tmp_path / "a", b"\x00\x01")
    weights.atomic_write(tmp_path / "b", "é")
    weights.atomic_write(tmp_path / "c", lambda path: path.write_text("c") and None)
    assert [(tmp_path / name).read_bytes() for name in "abc"] == [b"\x00\x01", "é".encode(), b"c"]


def test_interrupts_leave_nothing_behind(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.atomic_write(tmp_path / "a", write)
    with pytest.raises(KeyboardInterrupt), weights.atomic_directory(tmp_path / "d") as folder:
        write(folder / "x")
    assert names(tmp_path) == []


def test_an_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_text("mine")
        (tmp_path / "a").write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        weights.atomic_write(tmp_path / "a", write)
    assert (tmp_path / "a").read_text() == "theirs"


def test_atomic_directory(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with weights.atomic_directory(out) as folder:
        (folder / "report.json").write_text("1")
        (folder / "figures").mkdir()
        (folder / "figures" / "a.svg").write_text("1")
        assert not out.exists()
    assert names(out) == ["figures", "report.json"]
    with pytest.raises(OutputError, match="--force"), weights.atomic_directory(out) as folder:
        pass
    (out / "mine.txt").write_text("somebody else's")
    with weights.atomic_directory(out, force=True) as folder:
        (folder / "report.json").write_text("2")
    assert (out / "report.json").read_text() == "2"
    assert (out / "mine.txt").exists()
    assert names(tmp_path) == ["out"]


def test_atomic_directory_keeps_the_old_one_on_errors(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with weights.atomic_directory(out) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), weights.atomic_directory(out, force=True) as folder:
        (folder / "a").write_text(str(1 // 0))
    with (
        pytest.raises(OutputError, match="full"),
        weights.atomic_directory(out, force=True) as folder,
    ):
        full_disk()
    assert (out / "a").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_check_output_says_early_what_would_fail_later(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    assert weights.check_output(tmp_path / "new") == tmp_path / "new"
    assert weights.check_output(tmp_path / "folder", folder=True) == tmp_path / "folder"  # empty
    (tmp_path / "folder" / "x").write_text("x")
    with pytest.raises(OutputError, match="--force"):
        weights.check_output(tmp_path / "folder", folder=True)
    with pytest.raises(OutputError, match="it is a folder, but the output is a file"):
        weights.check_output(tmp_path / "folder", force=True)
    with pytest.raises(OutputError, match="it is a file, but the output is a folder"):
        weights.check_output(tmp_path / "file", force=True, folder=True)
    with pytest.raises(OutputError, match=r"folder .*file does not exist"):
        weights.check_output(tmp_path / "file" / "x")


def test_checksum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert (
        weights.checksum(tmp_path / "a")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.checksum(tmp_path / "b")


def test_a_written_file_has_ordinary_permissions(tmp_path: Path) -> None:
    state: dict[str, Tensor] = {"a": torch.ones(2)}
    (tmp_path / "ordinary").write_text("x")
    onefold.save(state, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
