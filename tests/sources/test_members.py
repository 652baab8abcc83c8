"""Networks as one type: a list, one network or members on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import onefold
from onefold.errors import MembersError
from onefold.sources import DiskMembers, Members, ResidentMembers, as_members, on_disk


def networks(count: int = 2) -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(count)]


def test_one_network_several_and_a_module_list_become_members() -> None:
    models = networks(3)
    for given in (models, tuple(models), nn.ModuleList(models), iter(models)):
        members = as_members(given)
        assert isinstance(members, ResidentMembers)
        assert members.resident
        assert not on_disk(members)
        assert all(a is b for a, b in zip(members, models, strict=True))
    assert list(as_members(models[0])) == [models[0]]
    assert members[1:] == models[1:]
    assert members[-1] is models[-1]
    assert as_members(members) is members
    assert len(as_members([])) == 0
    assert not on_disk(models)


def test_what_is_no_network_is_refused_with_its_number() -> None:
    with pytest.raises(MembersError, match=r"Member 1 is an OrderedDict, not an nn\.Module"):
        as_members([networks()[0], networks()[0].state_dict()])


def test_members_on_another_device_are_copies() -> None:
    members = as_members(networks())
    assert members.on(None) is members
    assert all(a is b for a, b in zip(members.on("cpu"), members, strict=True))
    away = members.on("meta")
    assert all(p.is_meta for model in away for p in model.parameters())
    assert not any(p.is_meta for model in members for p in model.parameters())


def test_members_on_disk_are_members_too(tmp_path: Path) -> None:
    models = networks()
    paths = [tmp_path / f"{k}.safetensors" for k in range(2)]
    for model, path in zip(models, paths, strict=True):
        onefold.save(model.state_dict(), path)
    disk = DiskMembers(lambda: networks(1)[0], [*paths, paths[0]])
    assert isinstance(disk, Members)
    assert not disk.resident
    assert on_disk(disk)
    assert as_members(disk) is disk
    assert disk.on("meta") is disk
    same = as_members([*models, models[0]])
    assert [text.split(" hold")[0].split(" are one")[0] for text in same.repeated] == [
        text.split(" hold")[0] for text in disk.repeated
    ]
    assert len(disk.repeated) == 1
