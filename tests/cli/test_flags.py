"""Networks that come out are trainable where those that went in are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onefold


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.middle, self.head = (
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.Linear(8, 8),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.middle(F.relu(self.norm(self.first(x))))))


def member(seed: int) -> nn.Module:
    """A network in training mode whose norm is frozen, in eval mode, with one more frozen bias and
    a hook.
    """
    torch.manual_seed(seed)
    network = Net().train()
    network.norm.requires_grad_(False).eval()
    network.first.bias.requires_grad_(False)
    network.middle.register_forward_hook(lambda *_: CALLS.append(1))
    return network


CALLS: list[int] = []  # of the hooks
MEMBERS = [member(seed) for seed in range(2)]
INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
DATA = [(INPUTS, torch.arange(64) % 3)]
FROZEN = {"first.bias", "norm.weight", "norm.bias"}


def space() -> onefold.Subspace:
    return onefold.Subspace(MEMBERS[0], shape="line")


def soft(level: str) -> nn.Module:
    made = onefold.SoftMerge(MEMBERS, level=level, align="none", reference=0, screen=False)
    made.prepare(DATA)
    return made.harden()


MAKERS: dict[str, Callable[[], nn.Module]] = {
    "average": lambda: onefold.merge(MEMBERS, DATA, align="permutation", fold="average").model,
    "least squares": (
        lambda: onefold.merge(MEMBERS, DATA, align="permutation", fold="least_squares").model
    ),
    "polished": lambda: (
        onefold.merge(MEMBERS, DATA, align="none", repair="none", polish=1, fold="average").model
    ),
    "aligned": lambda: onefold.align(MEMBERS, DATA, method="permutation").apply(MEMBERS)[1],
    "midpoint": lambda: space().midpoint(DATA),
    "vertex": lambda: space().vertex(1, DATA),
    "point": lambda: space().at(0.25, DATA),
    "ensemble": lambda: space().ensemble(2, DATA).members[1],
    "without biases": (
        lambda: onefold.Subspace(MEMBERS[0], shape="line", exclude="*.bias").midpoint(DATA)
    ),
    "layers": lambda: soft("layer"),
    "modules": lambda: soft("module"),
    "models": lambda: soft("model"),
    "partial": (
        lambda: onefold.partial_merge(MEMBERS, DATA, until="middle", align="permutation").model
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_parameters_need_gradients_where_they_did(name: str) -> None:
    found = MAKERS[name]()
    flags = {key: parameter.requires_grad for key, parameter in found.named_parameters()}

    def plain(key: str) -> str:
        words = [
            word
            for word in key.split(".")
            if word not in ("parts", "trunk", "heads", "layers") and not word.isdigit()
        ]
        return ".".join(words)

    assert {plain(key) for key, flag in flags.items() if not flag} == FROZEN
    assert all(flag == (plain(key) not in FROZEN) for key, flag in flags.items())


@pytest.mark.parametrize("name", ["average", "least squares", "polished", "aligned"])
def test_modes_and_hooks_are_those_of_the_network_given(name: str) -> None:
    found = MAKERS[name]()
    assert [module.training for module in found.modules()] == [
        module.training for module in MEMBERS[0].modules()
    ]
    CALLS.clear()
    found(INPUTS)
    assert len(CALLS) == 1
