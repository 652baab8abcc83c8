"""Networks are read from files of an architecture, and of what a fold left of several."""

from pathlib import Path

import pytest
import torch

import onefold
from onefold.errors import MembersError, Note, SettingError, WeightsError
from onefold.fold import saved
from onefold.fold.saved import load_members, load_networks
from onefold.fold.soft.mixture import Mixture
from onefold.fold.soft.saved import describe
from onefold.sources import DiskMembers, build_model

MODEL = "digits?width=4"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        onefold.save(build_model(MODEL), path)
    return [str(path) for path in paths]


def test_networks_are_those_of_the_files(files: list[str]) -> None:
    networks, notes = load_networks(MODEL, files)
    assert notes == []
    for path, network in zip(files, networks, strict=True):
        assert not network.training
        state = onefold.load(path)
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_a_repeated_network_is_told_as_a_warning(files: list[str]) -> None:
    for _, notes in (load_networks(MODEL, files[:1] * 2), load_members(MODEL, files[:1] * 2)):
        assert len(notes) == 1
        assert not isinstance(notes[0], Note)


def test_steps_to_the_weights_are_notes_in_memory_and_on_disk(
    files: list[str], tmp_path: Path
) -> None:
    wrapped = str(tmp_path / "wrapped.pt")
    torch.save({"state_dict": onefold.load(files[0]), "epoch": 3}, wrapped)
    for on_disk in (False, True):
        _, notes = load_members(MODEL, [wrapped, files[1]], on_disk=on_disk)
        assert notes
        assert all(isinstance(note, Note) and wrapped in note for note in notes)


def test_large_members_stay_on_disk(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load_members(MODEL, files)[0], list)
    monkeypatch.setattr(saved, "ON_DISK", 100)
    assert isinstance(load_members(MODEL, files)[0], DiskMembers)
    assert isinstance(load_members(MODEL, files, on_disk=False)[0], list)


@pytest.fixture
def mixture(tmp_path: Path) -> str:
    whole = Mixture([build_model(MODEL) for _ in range(2)], torch.tensor([0.5, 0.5]))
    path = tmp_path / "mixture.safetensors"
    onefold.save(whole, path, metadata=describe(whole))
    return str(path)


def test_a_mixture_is_read_where_it_may_be(mixture: str) -> None:
    (network,), _ = load_networks(MODEL, [mixture], several=True)
    assert isinstance(network, Mixture)


@pytest.mark.parametrize("on_disk", [False, True, None])
def test_a_mixture_is_no_member(mixture: str, files: list[str], on_disk: bool | None) -> None:
    with pytest.raises((MembersError, WeightsError), match=r"mixture\.safetensors"):
        load_members(MODEL, [mixture, files[0]], on_disk=on_disk)
    with pytest.raises(MembersError, match=r"is a mixture of several networks"):
        load_networks(MODEL, [files[0], mixture])


def test_members_of_other_architectures_are_told_from_one_another(
    files: list[str], tmp_path: Path
) -> None:
    other = str(tmp_path / "other.safetensors")
    onefold.save(build_model("digits?width=5"), other)
    with pytest.raises(MembersError, match=r"other\.safetensors"):
        load_networks(MODEL, [files[0], other])
    with pytest.raises(WeightsError, match=r"other\.safetensors"):
        load_networks(MODEL, [other])


def test_unknown_names_are_refused(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="digitz"):
        load_networks("digitz", files)
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        load_networks(MODEL, [str(tmp_path / "none.safetensors")])
