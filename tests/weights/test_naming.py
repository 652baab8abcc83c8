"""The names of a file are brought to those of the network, and nothing is guessed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from states import same
from torch import Tensor, nn

import onefold
from onefold import weights
from onefold.errors import WeightsError
from onefold.weights.naming import change_of, names_for

State = dict[str, Tensor]


class Net(nn.Module):
    """Features with a norm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        self.head = nn.Linear(3, 2)


class Wrapped(nn.Module):
    """A network whose own names have a prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.module = Net()


class Tied(nn.Module):
    """Two names for one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def net(seed: int = 0, kind: type[nn.Module] = Net) -> nn.Module:
    torch.manual_seed(seed)
    return kind()


def behind(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def write(path: Path, state: State) -> Path:
    torch.save(state, path) if path.suffix == ".pt" else save_file(state, path)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "model.",
        "net.",
        "backbone.",
        "model._orig_mod.",
        "module.model.",
        "a.b.c.",
        "_orig_mod.",
    ],
)
def test_prefixes_before_all_names(tmp_path: Path, prefix: str, suffix: str) -> None:
    state = net().state_dict()
    path = write(tmp_path / f"a{suffix}", behind(prefix, state))
    model = net(1)
    assert onefold.load(path, model) is model
    assert same(model.state_dict(), state)
    found = weights.fitted(weights.read(path), model)
    assert found.prefix == prefix
    assert bool(prefix) == any("off every name" in note for note in found.notes)


@pytest.mark.parametrize(
    "inner",
    [
        ("features.", "features.module."),
        ("features.", "features._orig_mod."),
        ("features.0.", "features.0._fsdp_wrapped_module."),
        ("head.", "head._checkpoint_wrapped_module.module."),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_components_of_wrappers_within_names(
    tmp_path: Path, inner: tuple[str, str], prefix: str
) -> None:
    state = net().state_dict()
    changed = {prefix + name.replace(*inner): tensor for name, tensor in state.items()}
    path = write(tmp_path / "a.pt", changed)
    assert same(onefold.load(path, net(1)).state_dict(), state)
    assert any(
        "as the network calls them" in note or "prefix" in note
        for note in weights.fitted(weights.read(path), net(1)).notes
    )


@pytest.mark.parametrize("prefix", ["", "module.", "model.module.", "model."])
def test_a_network_whose_own_names_have_a_prefix(tmp_path: Path, prefix: str) -> None:
    plain = net().state_dict()
    path = write(tmp_path / "a.pt", behind(prefix, plain))
    assert same(onefold.load(path, net(1, Wrapped)).state_dict(), behind("module.", plain))


def test_several_copies_of_the_network_are_refused(tmp_path: Path) -> None:
    state = {**behind("student.", net().state_dict()), **behind("teacher.", net(1).state_dict())}
    path = write(tmp_path / "a.pt", state)
    model = net(2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        WeightsError, match=r"2 times, behind 'student\.', 'teacher\.'; say.*prefix="
    ):
        onefold.load(path, model)
    assert same(model.state_dict(), before)
    assert same(onefold.load(path, model, prefix="teacher.").state_dict(), net(1).state_dict())
    assert same(onefold.load(path, model, drop="teacher").state_dict(), net().state_dict())
    both = write(tmp_path / "b.pt", {**net().state_dict(), **behind("ema.", net(1).state_dict())})
    with pytest.raises(WeightsError, match=r"2 times, behind '', 'ema\.'.*drop="):
        onefold.load(both, model)
    assert same(onefold.load(both, model, drop=["ema"]).state_dict(), net().state_dict())


@pytest.mark.parametrize("prefix", ["", "model.", "net.module."])
def test_names_beside_those_of_the_network_are_refused(tmp_path: Path, prefix: str) -> None:
    state = {**behind(prefix, net().state_dict()), "loss.weight": torch.ones(2)}
    path = write(tmp_path / "a.pt", state)
    with pytest.raises(WeightsError, match=r"'loss\.weight'.*(prefix=|drop=)") as caught:
        onefold.load(path, net(1))
    asked = re.search(r"prefix='(.*)'", str(caught.value))
    assert (asked is None) == (prefix == "")
    if asked is not None:  # what the message says does it
        model = onefold.load(path, net(1), prefix=asked[1])
        assert same(model.state_dict(), net().state_dict())
    assert same(onefold.load(path, net(1), drop="loss").state_dict(), net().state_dict())


@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_what_is_missing_is_named_as_the_network_calls_it(tmp_path: Path, prefix: str) -> None:
    state = net().state_dict()
    del state["head.bias"]
    path = write(tmp_path / "a.pt", behind(prefix, state))
    with pytest.raises(WeightsError, match=r"it lacks 'head\.bias';"):
        onefold.load(path, net(1))


@pytest.mark.parametrize("prefix", ["", "model."])
def test_one_of_tied_names_is_enough(tmp_path: Path, prefix: str) -> None:
    state = {f"{prefix}head.weight": torch.ones(5, 3)}
    path = write(tmp_path / "a.safetensors", state)
    model = onefold.load(path, net(0, Tied))
    assert torch.equal(model.embed.weight, torch.ones(5, 3))
    assert model.embed.weight is model.head.weight


def test_names_that_would_become_one_stay() -> None:
    names = ["a.weight", "module.a.weight"]
    with pytest.raises(WeightsError, match=r"2 times, behind '', 'module\.'"):
        names_for(names, [["a.weight"]], ["a.weight"], "f", "N")
    assert names_for(names, [[n] for n in names], names, "f", "N") == {n: n for n in names}


def test_another_network_keeps_its_names() -> None:
    assert names_for(["x", "y"], [["a"], ["b"]], ["a", "b"], "f", "N") == {"x": "x", "y": "y"}
    assert change_of({"x": "x"}) == ("", "")
