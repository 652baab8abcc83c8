"""A network given twice is told of: one object, equal weights, files through links and copies."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from small_networks import Plain, Residual, trained
from torch import nn

import onefold as of
from onefold.errors import RepeatedMembers
from onefold.fold import merge
from onefold.sources import DiskMembers, build_model
from onefold.weights import repeated, save
from onefold.weights.duplicates import twins

ONE = "members 0 and 2 are one and the same object, which counts it twice and gains nothing"
EQUAL = "members 0 and 2 hold the same weights, which counts it twice and gains nothing"


@pytest.fixture(scope="module")
def pair() -> list[nn.Module]:
    return [trained(Plain, 0, steps=8), trained(Plain, 1, steps=8)]


def test_one_object_equal_weights_and_neither(pair: list[nn.Module]) -> None:
    assert repeated(pair) == []
    assert repeated([*pair, pair[0]]) == [ONE]
    assert repeated([*pair, copy.deepcopy(pair[0])]) == [EQUAL]
    assert len(repeated([pair[0], pair[0], copy.deepcopy(pair[0])])) == 2
    almost = copy.deepcopy(pair[0])
    with torch.no_grad():
        almost.head.bias[-1] += 1e-6  # the very last number
    assert repeated([*pair, almost]) == []


def test_what_is_no_repetition() -> None:
    assert repeated([nn.Identity(), nn.Identity()]) == []  # no weights to be equal
    torch.manual_seed(0)
    first = nn.Linear(3, 3)
    other = nn.Bilinear(1, 1, 1)
    low = copy.deepcopy(first).bfloat16()
    assert repeated([first, low, other, nn.Linear(3, 3)]) == []
    deep = nn.Sequential(nn.Linear(3, 3))
    assert repeated([nn.Sequential(nn.Linear(2, 2)), deep]) == []
    lazy = [nn.LazyLinear(2), nn.LazyLinear(2)]
    assert repeated(lazy) == []
    assert repeated([nn.Linear(2, 2, device="meta"), nn.Linear(2, 2, device="meta")]) == []


def test_buffers_and_other_dtypes_count() -> None:
    one, other = Residual().eval(), Residual().eval()
    other.load_state_dict(one.state_dict())
    assert repeated([one, other])
    other.norm1.running_mean += 1
    assert repeated([one, other]) == []
    values = {"z": torch.randn(3, dtype=torch.complex64), "n": torch.arange(3)}
    assert twins(
        [values, {k: v.clone() for k, v in values.items()}, {**values, "n": torch.arange(1, 4)}]
    ) == [(0, 1)]


def test_different_networks_cost_one_tensor_each() -> None:
    read = []

    class Watched(dict):  # type: ignore[type-arg]
        def __getitem__(self, name: str) -> torch.Tensor:
            read.append(name)
            return super().__getitem__(name)

    torch.manual_seed(0)
    states = [Watched(a=torch.randn(4), b=torch.randn(4), c=torch.randn(4)) for _ in range(5)]
    assert twins(states) == []
    assert read == ["a"] * 5


def test_files_through_links_copies_and_other_formats(tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = [build_model("digits?width=4") for _ in range(2)]
    paths = [tmp_path / f"m{k}.safetensors" for k in range(2)]
    for network, path in zip(networks, paths, strict=True):
        save(network, path)
    link, twin, other = (
        tmp_path / "link.safetensors",
        tmp_path / "copy.safetensors",
        tmp_path / "m0.pt",
    )
    link.symlink_to(paths[0])
    shutil.copy(paths[0], twin)
    torch.save(networks[0].state_dict(), other)
    for again in (paths[0], link, twin, other):
        members = DiskMembers("digits?width=4", [*paths, again])
        assert members.repeated == (EQUAL,)
        assert EQUAL in members.notes
        assert EQUAL in merge(members, align="none", repair="none", fold="average").report.warnings
        with pytest.warns(RepeatedMembers, match="hold the same weights"):
            of.evaluate(members, [(torch.rand(4, 1, 8, 8), torch.arange(4))])
    assert DiskMembers("digits?width=4", paths).repeated == ()
