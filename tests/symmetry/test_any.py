"""Whatever network a user brings: what is found is proved numerically, for every class of maps
claimed, and covers nearly all of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from symmetry_builders import NETWORKS
from torch import Tensor, nn

from onefold.symmetry import SymmetrySpec, find_symmetries, verify_symmetries
from onefold.symmetry.rules import Call, operator_rules, rule
from onefold.symmetry.terms import PERMUTATION, Term, restrict
from onefold.symmetry.unification import unify


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_proved_and_covered(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    spec = find_symmetries(network.model, network.inputs)
    proof = verify_symmetries(spec, network.model, network.inputs)
    assert proof.passed, str(proof)
    assert proof.max_error < 1e-10
    tied = [
        group for group in spec.groups if len({slot.tensor for slot in group.slots}) > 1
    ]  # others leave nothing to get wrong
    assert proof.negatives_tried >= min(len(tied), 12) - bool(
        proof.inert
    )  # a group of tensors without effect has no control
    assert spec.coverage >= network.coverage, str(spec)
    assert spec.unknown == {}
    assert SymmetrySpec.from_json(spec.to_json()) == spec


def test_there_are_more_than_a_hundred() -> None:
    assert len(NETWORKS) >= 110


class Smoothed(nn.Module):
    """A network with an operator in its middle that no rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (
            nn.Linear(5, 16),
            nn.Linear(16, 12),
            nn.Linear(12, 14),
            nn.Linear(14, 3),
        )
        self.weight = nn.Parameter(torch.randn(12))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.ops.onefold_test.smooth(self.b(torch.relu(self.a(x))), self.weight)
        return self.d(torch.relu(self.c(x)))


@pytest.fixture
def smooth() -> Iterator[None]:
    """A custom operator that exports as a whole: x w / (1 + |x|)."""

    @torch.library.custom_op("onefold_test::smooth", mutates_args=())
    def smooth(x: Tensor, weight: Tensor) -> Tensor:
        return weight * x / (1 + x.abs())

    @smooth.register_fake
    def _(x: Tensor, weight: Tensor) -> Tensor:
        return torch.empty_like(x)

    yield
    operator_rules._entries.pop("smooth", None)


@pytest.mark.usefixtures("smooth")
def test_an_unknown_operator_is_frozen_and_named_and_three_lines_cover_it() -> None:
    model, x = Smoothed(), torch.randn(4, 5)
    before = find_symmetries(model, x)
    assert before.unknown == {"smooth": 1}
    assert before.frozen["weight"] == "reaches smooth, which has no rule"
    assert "unknown operator: smooth, met 1 times" in str(before)
    assert sorted(group.size for group in before.groups) == [
        14,
        16,
    ]  # what does not reach it moves all the same
    assert verify_symmetries(before, model, x).passed

    @rule("smooth", summary="Softsign, channel by channel.")
    def smooth_rule(call: Call) -> list[Term]:
        unify(
            call.axes(call["x"])[-1], call.axes(call["weight"])[0]
        )  # the weight moves with the channels
        restrict(call.axes(call["weight"])[0], PERMUTATION)  # which may change places
        return call.axes(call["x"])

    after = find_symmetries(model, x)
    assert after.unknown == {}
    assert sorted(group.size for group in after.groups) == [12, 14, 16]
    assert set(after.frozen) == {"d.bias"}
    proof = verify_symmetries(after, model, x)
    assert proof.passed, str(proof)
