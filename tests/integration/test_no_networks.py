"""Public functions get what is no network, or one that is not ready, where networks are wanted."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer

import onefold
from onefold.errors import MembersError
from onefold.fold.partial import load_partial
from onefold.inference import predictions
from onefold.measure import agreement, combine, evaluate_all, triangle
from onefold.sources import ResidentMembers
from onefold.symmetry import prune, trace

DATA = [(torch.randn(12, 4), torch.arange(12) % 2) for _ in range(3)]


def net() -> nn.Sequential:
    """Two layers from 4 numbers to 2 classes."""
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()


SPEC = onefold.find_symmetries(net(), DATA[0])
ALIGNMENT = onefold.align([net(), net()], DATA, method="permutation")
# Functions of several networks, with the number of the networks before the given one.
SEVERAL: dict[str, Callable[[Any], Any]] = {
    "merge": lambda models: onefold.merge(models, DATA, fold="average"),
    "align": lambda models: onefold.align(models, DATA),
    "measure_targets": lambda models: onefold.measure_targets(models, DATA, ALIGNMENT, SPEC),
    "polish": lambda models: onefold.polish(net(), models, DATA, 1),
    "partial_merge": lambda models: onefold.partial_merge(models, DATA, until="0"),
    "load_partial": lambda models: load_partial("missing.safetensors", models),
    "SoftMerge": lambda models: onefold.SoftMerge(models),
    "Ensemble": lambda models: onefold.Ensemble(models),
    "class_pool": lambda models: onefold.class_pool(models, DATA),
    "compare_networks": lambda models: onefold.compare_networks(models, DATA),
    "measure_pairs": lambda models: onefold.measure_pairs(models, DATA),
    "evaluate": lambda models: onefold.evaluate(models, DATA),
    "evaluate_all": lambda models: evaluate_all(models, DATA),
    "agreement": lambda models: agreement(models, DATA),
    "combine": lambda models: combine(models, (0.5, 0.5)),
    "Alignment.apply": lambda models: ALIGNMENT.apply(models),
    "Subspace.starts": lambda models: onefold.Subspace(net(), starts=models),
}
SINGLE: dict[str, Callable[[Any], Any]] = {
    "find_symmetries": lambda model: onefold.find_symmetries(model, DATA[0]),
    "verify_symmetries": lambda model: onefold.verify_symmetries(SPEC, model, DATA[0]),
    "prune": lambda model: prune(SPEC, model, DATA[0]),
    "trace": lambda model: trace(model, [DATA[0][0]]),
    "repair": lambda model: onefold.repair(model, DATA, SPEC, {}),
    "polish": lambda model: onefold.polish(model, [net(), net()], DATA, 1),
    "recalibrate": lambda model: onefold.recalibrate(model, DATA),
    "Subspace": lambda model: onefold.Subspace(model),
    "Subspace.between": lambda model: onefold.Subspace.between(net(), model),
    "Subspace.grow": lambda model: onefold.Subspace(net()).grow(model),
    "PersistentTraining": lambda model: onefold.PersistentTraining(model, 10),
    "barrier": lambda model: onefold.barrier(net(), model, DATA),
    "triangle": lambda model: triangle(net(), net(), model, DATA),
    "predictions": lambda model: predictions(model, DATA),
}
# What may be given for one network, and what the sentence says to do.
GIVEN: dict[str, tuple[Callable[[], Any], str]] = {
    "a path": (lambda: "a.pt", "load it by network.load_state_dict(onefold.load(path))"),
    "a Path": (lambda: Path("x") / "a.pt", "network.load_state_dict(onefold.load(path))"),
    "a state dict": (lambda: net().state_dict(), "network.load_state_dict(state)"),
    "a checkpoint": (lambda: {"model": net().state_dict()}, "network.load_state_dict(state)"),
    "a dict with a network": (lambda: {"net": net(), "epoch": 3}, "pass "),
    "a class": (lambda: nn.Linear, "pass a network, as Linear(...)"),
    "a function": (lambda: net, "pass the network that it makes"),
    "a partial": (lambda: partial(nn.Linear, 4, 2), "pass the network that it makes"),
    "a result": (lambda: SimpleNamespace(model=net()), "pass its .model"),
    "a tensor": (lambda: torch.ones(3), ""),
    "a number": (lambda: 7, ""),
}


def refusal(call: Callable[[Any], Any], value: Any) -> str:
    """The sentence with which the value is refused."""
    with pytest.raises(MembersError) as raised:
        call(value)
    text = str(raised.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) <= 300
    return text


@pytest.mark.parametrize(("name", "given"), itertools.product(SEVERAL, GIVEN))
def test_one_of_several_is_no_network(name: str, given: str) -> None:
    make, todo = GIVEN[given]
    text = refusal(SEVERAL[name], [net(), make()])
    assert text.startswith("starts[1] is " if "starts" in name else "Member 1 is ")
    assert todo in text


@pytest.mark.parametrize("name", SEVERAL)
def test_a_pair_of_a_name_and_a_network(name: str) -> None:
    text = refusal(SEVERAL[name], [net(), ("b", net())])
    assert "1] is" in text or "Member 1 is" in text
    assert "a tuple that holds a network, not an nn.Module; pass the networks alone." in text


@pytest.mark.parametrize("name", sorted(set(SEVERAL) - {"Subspace.starts"}))
def test_none_among_networks(name: str) -> None:
    assert refusal(SEVERAL[name], [net(), None]).startswith("Member 1 is ")


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize(
    ("make", "todo"),
    [
        (lambda: "a.pt", "not 'a.pt'; load it by network.load_state_dict(onefold.load(path)), or"),
        (lambda: Path("a.pt"), "onefold.sources.DiskMembers(build, paths)."),
        (lambda: net().state_dict(), "network.load_state_dict(state)."),
        (lambda: {"a": net(), "b": net()}, "; pass list(models.values())."),
        (lambda: {net(), net()}, "; pass list(models)."),
        (lambda: {"a": net()}.values(), "; pass list(models)."),
    ],
)
def test_what_is_no_list_of_networks(name: str, make: Callable[[], Any], todo: str) -> None:
    text = refusal(SEVERAL[name], make())
    assert f"{name.split('.')[0]} takes " in text or "apply takes models" in text
    assert todo in text


@pytest.mark.parametrize(("name", "given"), itertools.product(SINGLE, GIVEN))
def test_a_single_network_that_is_none(name: str, given: str) -> None:
    make, todo = GIVEN[given]
    text = refusal(SINGLE[name], make())
    assert f"{name} takes " in text
    assert todo in text
    assert "DiskMembers" not in text


@pytest.mark.parametrize("name", SINGLE)
def test_a_list_where_one_network_is_wanted(name: str) -> None:
    assert refusal(SINGLE[name], [net()]).endswith("; pass one of its networks.")


@pytest.mark.parametrize(
    "name", sorted(set(SEVERAL) - {"evaluate", "evaluate_all", "load_partial"})
)
def test_one_network_where_several_are_wanted(name: str) -> None:
    if name != "agreement":
        assert refusal(SEVERAL[name], net()) == "1 network was given; pass a list of them."


class OwnLazy(nn.Module):
    """A buffer without a shape, of a module that is not torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("scale", UninitializedBuffer())

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


LAZY: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "linear": (lambda: nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2)), "0.weight"),
    "the last layer": (lambda: nn.Sequential(nn.Linear(4, 3), nn.LazyLinear(2)), "1.weight"),
    "norm": (lambda: nn.Sequential(nn.Linear(4, 3), nn.LazyBatchNorm1d()), "1.weight"),
    "norm without affine": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.LazyBatchNorm1d(affine=False)),
        "1.running_mean",
    ),
    "convolution": (lambda: nn.Sequential(nn.LazyConv2d(3, 1)), "0.weight"),
    "a buffer of another module": (OwnLazy, "scale"),
}


@pytest.mark.parametrize("kind", LAZY)
@pytest.mark.parametrize("name", [*SEVERAL, *SINGLE])
def test_lazy_modules_that_did_not_run(name: str, kind: str) -> None:
    make, tensor = LAZY[kind]
    for call, value in ((SEVERAL.get(name), [net(), make()]), (SINGLE.get(name), make())):
        if call is not None:
            text = refusal(call, value)
            assert f"has no weights yet, as '{tensor}' belongs to a lazy module" in text
            assert text.endswith("run one batch through the network first.")


def test_lazy_modules_that_ran_are_fine() -> None:
    models = [LAZY["linear"][0]() for _ in range(2)]
    for model in models:
        model(DATA[0][0])
    assert onefold.merge(models, DATA, align="permutation", fold="average").model is not None


@pytest.mark.parametrize("kind", LAZY)
def test_members_in_memory_are_ready(kind: str) -> None:
    with pytest.raises(MembersError, match=r"Member 1 .* has no weights yet"):
        ResidentMembers([net(), LAZY[kind][0]()])
