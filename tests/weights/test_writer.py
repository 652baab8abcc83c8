"""What is written comes back: networks, states, dtypes, views, ties, shards and metadata."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from states import names
from torch import Tensor, nn

import onefold
from onefold import weights
from onefold.errors import OutputError, SettingError, WeightsError
from onefold.sources.networks import digits

FORMS = ("safetensors", "pt")


def same(a: object, b: object) -> bool:
    return weights.state_checksum(a) == weights.state_checksum(b)  # type: ignore[arg-type]


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
    ],
)
def test_unfit_states_are_not_written(tmp_path: Path, state: object, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        onefold.save(state, tmp_path / "a.safetensors")  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_what_is_neither_a_network_nor_a_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="as a network or a dict, not \\[1\\] \\(list\\)"):
        onefold.save([1], tmp_path / "a.safetensors")  # type: ignore[arg-type]
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


def test_a_written_file_has_ordinary_permissions(tmp_path: Path) -> None:
    state: dict[str, Tensor] = {"a": torch.ones(2)}
    (tmp_path / "ordinary").write_text("x")
    onefold.save(state, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
