"""Networks that hold what copy.deepcopy refuses: a copy, or one sentence."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from holding_networks import COPIED, REFUSED, Net, trained
from torch import Tensor, nn

import onefold
from onefold.copying import check_copyable, copied
from onefold.errors import MembersError
from onefold.measure import triangle

X = torch.linspace(-1, 1, 30).view(5, 6)


@functools.cache
def data() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(9)
    return [(torch.randn(12, 6), torch.arange(12) % 3) for _ in range(3)]


@pytest.mark.parametrize("kind", COPIED)
def test_a_copy_computes_the_same_and_shares_no_parameter(kind: str) -> None:
    network = trained(COPIED[kind])
    check_copyable(network)
    twin = copied(network)
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in network.parameters()}
    before = network.eval()(X).detach().clone()
    assert torch.equal(twin.eval()(X), before)
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            tensor.add_(1)
    assert torch.equal(network(X), before)
    assert not torch.equal(twin(X), before)


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "prune"])
def test_a_copy_can_be_trained(kind: str) -> None:
    twin = copied(trained(COPIED[kind])).train()
    twin(X).square().sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in twin.parameters())


def test_what_reaches_outside_is_shared_and_the_rest_is_not() -> None:
    network = Net()
    network.held = {"lock": threading.Lock(), "list": [1], "module": os}
    twin = copied(network)
    assert twin.held["lock"] is network.held["lock"]
    assert twin.held["module"] is os
    assert twin.held["list"] == [1]
    assert twin.held["list"] is not network.held["list"]


def test_a_tensor_of_a_graph_that_is_held_twice_is_copied_once() -> None:
    network = Net()
    kept = network(X)
    network.held = [kept, kept]
    twin = copied(network)
    assert twin.held[0] is twin.held[1]
    assert torch.equal(twin.held[0], kept)
    assert twin.held[0].is_leaf


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_copied_is_named(kind: str) -> None:
    make, words = REFUSED[kind]
    for call in (copied, check_copyable):
        with pytest.raises(MembersError) as raised:
            call(make())
        text = str(raised.value)
        assert text.startswith("Net cannot be copied, as it")
        assert words in text
        assert text.endswith("__deepcopy__.")
        assert "\n" not in text


def test_a_network_that_refuses_itself_is_named() -> None:
    class Refuses(nn.Linear):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("no copies\nof this")

    with pytest.raises(MembersError, match=r"Refuses cannot be copied \(no copies\); drop what"):
        copied(Refuses(2, 2))


def use_partial(a: Net, b: Net) -> object:
    return onefold.partial_merge([a, b], data(), until="norm", align="permutation")


def use_soft(a: Net, b: Net) -> object:
    soft = onefold.SoftMerge([a, b], align="none", screen=False)
    return onefold.fit_gates(soft, data(), steps=1).model


def use_subspace(a: Net, b: Net) -> object:
    space = onefold.Subspace(a, "line", starts=[a, b])
    space(X).sum().backward()
    return space.grow(b).ensemble(2, data())


def use_rounds(a: Net, b: Net) -> object:
    run = onefold.PersistentTraining(a, 1, kernel="function", reference=data()[0])
    for score in (0.1, 0.2):
        with torch.no_grad():
            for parameter in a.parameters():
                parameter.add_(score)
        run.record(score)
        run.restart()
    run.penalty().backward()
    return run.ensemble()


USES: dict[str, Callable[[Net, Net], object]] = {
    "merge": lambda a, b: onefold.merge([a, b], data(), align="permutation", fold="average"),
    "merge as they are": lambda a, b: onefold.merge([a, b], data(), align="none", fold="average"),
    "least squares": lambda a, b: onefold.merge(
        [a, b], data(), align="permutation", fold="least_squares", polish=1
    ),
    "align and apply": lambda a, b: onefold.align([a, b], data(), method="permutation").apply(
        [a, b]
    ),
    "polish": lambda a, b: onefold.polish(a, [a, b], data(), 1),
    "partial": use_partial,
    "soft": use_soft,
    "subspace": use_subspace,
    "between": lambda a, b: onefold.Subspace.between(a, b),
    "rounds": use_rounds,
    "barrier": lambda a, b: onefold.barrier(a, b, data(), points=3),
    "triangle": lambda a, b: triangle(a, b, a, data(), resolution=1),
    "compare": lambda a, b: onefold.measure_pairs([a, b], data(), points=3),
    "pool": lambda a, b: onefold.class_pool([a, b], data()),
    "evaluate": lambda a, b: onefold.evaluate([a, b], data(), device="cpu"),
    "verify": lambda a, b: onefold.verify_symmetries(
        onefold.find_symmetries(a, X), a, X, trials=1, negatives=1
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", ["weight_norm", "prune", "activations in a list", "lock", "none"])
def test_every_function_takes_such_networks(use: str, kind: str) -> None:
    make = COPIED.get(kind, Net)
    a, b = trained(make, 0), trained(make, 1)
    before = {name: value.clone() for name, value in b.state_dict().items()}
    assert USES[use](a, b) is not None
    assert all(torch.equal(value, before[name]) for name, value in b.state_dict().items())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("use", sorted(set(USES) - {"pool", "evaluate"}))
def test_every_function_that_copies_refuses_a_generator(use: str) -> None:
    a, b = Net(), Net()
    a.held = (k for k in range(3))
    with pytest.raises(MembersError, match="Net cannot be copied, as it holds"):
        USES[use](a, b)
