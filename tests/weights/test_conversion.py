"""Whole numbers in another dtype, missing counters, and entries that are no tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import onefold
from onefold import weights
from onefold.errors import WeightsError
from onefold.sources import DiskMembers
from onefold.weights.conversion import converted


class Net(nn.Module):
    """A norm, a table of indices and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("ids", torch.arange(3000))
        self.register_buffer("mask", torch.ones(3, 3).tril().bool())


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    network = Net()
    network.norm.num_batches_tracked += 5
    return network


def write(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path) if path.suffix == ".pt" else save_file(state, path)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_state_that_was_cast_as_a_whole(tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    source = net()
    state = {name: tensor.to(dtype) for name, tensor in source.state_dict().items()}
    path = write(tmp_path / f"a{suffix}", state)
    model = onefold.load(path, Net())
    assert model.norm.num_batches_tracked == 5
    assert torch.equal(model.ids, source.ids)
    assert torch.equal(model.mask, source.mask)
    assert torch.equal(model.layer.weight, source.layer.weight.to(dtype).float())
    other = write(tmp_path / f"b{suffix}", net(1).state_dict())
    assert DiskMembers(Net, [path, other])[0].norm.num_batches_tracked == 5


@pytest.mark.parametrize("count", [3, 60_000, 70_000, 10**9])
def test_a_counter_in_float16(tmp_path: Path, count: int) -> None:
    source = net()
    source.norm.num_batches_tracked.fill_(count)
    state = {name: tensor.half() for name, tensor in source.state_dict().items()}
    model = onefold.load(write(tmp_path / "a.pt", state), Net())
    expected = int(torch.tensor(float(count)).half()) if count < 65_504 else 0
    assert model.norm.num_batches_tracked == expected


@pytest.mark.parametrize(
    ("given", "own", "kept"),
    [
        (torch.tensor([1.5]), torch.tensor([1]), False),
        (torch.tensor([-1.0, 3.0]), torch.tensor([0, 0]), True),
        (torch.tensor([4096.0]).half(), torch.tensor([1]), False),
        (torch.tensor([4097.0]).half(), torch.tensor([4097]), True),
        (torch.tensor([0, 1], dtype=torch.uint8), torch.tensor([True, True]), True),
        (torch.tensor([0, 2], dtype=torch.uint8), torch.tensor([True, True]), False),
        (torch.tensor([300]), torch.tensor([1], dtype=torch.uint8), True),
        (torch.tensor([1]), torch.tensor([1.0]), False),
        (torch.tensor([True]), torch.tensor([1.0]), False),
        (torch.tensor([1j]), torch.tensor([1]), False),
        (torch.tensor([float("nan")]), torch.tensor([1]), False),
        (torch.empty(0), torch.empty(0, dtype=torch.int64), True),
    ],
)
def test_no_number_changes(given: Tensor, own: Tensor, kept: bool) -> None:
    found = converted(given, own, "x")
    assert (found is not None) == kept
    if found is not None and found is not given:
        assert found.dtype == own.dtype
        assert torch.equal(found.to(given.dtype), given)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm1d]
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_files_without_counters(
    tmp_path: Path, kind: type[nn.Module], suffix: str, prefix: str
) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3), kind(3, affine=True, track_running_stats=True))

    paths = []
    for seed in range(2):
        torch.manual_seed(seed)
        state = build().state_dict()
        left = {prefix + n: v for n, v in state.items() if "num_batches" not in n}
        paths.append(write(tmp_path / f"{seed}{suffix}", left))
    members = DiskMembers(build, [paths[0], paths[1]])
    assert torch.equal(members[1].state_dict()["0.weight"], state["0.weight"])
    assert sum("1 counters of batch norms are not in the file" in n for n in members.notes) == 2
    model = build()
    model[1].num_batches_tracked.fill_(7)  # torch keeps what the network has
    assert onefold.load(paths[0], model)[1].num_batches_tracked == 7
    whole = write(tmp_path / f"whole{suffix}", state)
    assert len(DiskMembers(build, [whole, paths[0]])) == len(DiskMembers(build, [paths[0], whole]))


@pytest.mark.parametrize("name", ["1.running_mean", "0.bias", "1.weight"])
def test_nothing_else_may_be_missing(tmp_path: Path, name: str) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))

    state = build().state_dict()
    del state[name]
    with pytest.raises(WeightsError, match=f"lacks '{name}'"):
        onefold.load(write(tmp_path / "a.pt", state), build())


class Extra(nn.Linear):
    """A layer with a state of its own beside its tensors."""

    def __init__(self, extra: Any = None) -> None:
        super().__init__(4, 3)
        self.extra = extra

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


@pytest.mark.parametrize("extra", [{"steps": 3}, [1, 2], "text", None])
def test_extra_state_stays_the_network_s(tmp_path: Path, extra: Any) -> None:
    source = Extra(extra)
    path = write(tmp_path / "a.pt", source.state_dict())
    model = onefold.load(path, Extra("mine"))
    assert torch.equal(model.weight, source.weight)
    assert model.extra == "mine"
    assert any("_extra_state" in note for note in weights.read(path).notes)


@pytest.mark.parametrize("extra", [{"steps": 3}, [1, 2], "text"])
def test_networks_with_extra_state_are_refused_in_one_sentence(tmp_path: Path, extra: Any) -> None:
    said = r"has '_extra_state' in its state dict, .* and no tensor.*; give the network"
    members = [Extra(extra), Extra(extra)]
    data = [torch.randn(8, 4)]
    with pytest.raises(WeightsError, match=said):
        onefold.merge(members, data, align="permutation", fold="average")
    with pytest.raises(WeightsError, match=said):
        onefold.align(members, data)
    with pytest.raises(WeightsError, match=said):
        onefold.SoftMerge(members, level="layer")
    paths = [write(tmp_path / f"{k}.pt", m.state_dict()) for k, m in enumerate(members)]
    with pytest.raises(WeightsError, match=said):
        DiskMembers(lambda: Extra(extra), paths)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [torch.qint8, torch.float16])
def test_quantised_networks_are_refused_in_one_sentence(kind: torch.dtype) -> None:
    def made() -> nn.Module:
        plain = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        return torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=kind)

    with pytest.raises(WeightsError, match=r"no tensor, as quantised layers.*before quantisation"):
        onefold.merge([made(), made()], [torch.randn(8, 4)], align="permutation", fold="average")
