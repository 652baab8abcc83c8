"""Networks that keep what they computed from their weights: proofs, folds and lines see the weights
that they have now.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from symmetry_networks import Keeps
from torch import Tensor, nn

import onefold
from onefold.caches import clear_eval_caches, restored_attributes
from onefold.measure import combine


class Counts(nn.Module):
    """Everything that a module may remember a run in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.dict: dict[str, Any] = {"old": 1}
        self.list: list[int] = [3]
        self.set: set[int] = set()
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.dict["new"], self.last = x, x
        self.list.append(4)
        self.set.add(5)
        self.added = True
        return self.layer(x)


def test_a_run_leaves_nothing_behind() -> None:
    model, weight = Counts(), torch.zeros(2, 2)
    before = dict(vars(model))
    with restored_attributes(model):
        model(torch.zeros(1, 2))
        assert model.added
    assert vars(model) == before
    assert (model.dict, model.list, model.set, model.last) == ({"old": 1}, [3], set(), None)
    with pytest.raises(RuntimeError, match="shapes"), restored_attributes(model):
        model(torch.zeros(1, 3))
    assert model.list == [3]
    model.layer.weight = nn.Parameter(weight)  # still a module like any other
    assert model.state_dict()["layer.weight"].equal(weight)


def test_forgetting_keeps_every_flag() -> None:
    model = nn.Sequential(Keeps(), nn.Dropout(), nn.Linear(2, 2)).eval()
    model[1].train()
    model[0](torch.randn(2, 5, 6))
    assert model[0].kept
    clear_eval_caches(model)
    assert not model[0].kept
    assert [module.training for module in model] == [False, True, False]


@pytest.fixture
def members() -> list[nn.Module]:
    """Two networks that have run in eval mode, and so keep their biases."""
    torch.manual_seed(0)
    found = [Keeps().eval() for _ in range(2)]
    for model in found:
        with torch.no_grad():
            model(torch.randn(2, 5, 6))
        assert model.kept
    return list(found)


def fresh(model: nn.Module) -> nn.Module:
    twin = Keeps()
    twin.load_state_dict(model.state_dict())
    return twin.eval()


@pytest.mark.parametrize("align", ["none", "permutation"])
def test_the_fold_of_networks_that_have_run(members: list[nn.Module], align: str) -> None:
    x = torch.randn(3, 5, 6)
    result = onefold.merge(
        members, [torch.randn(20, 5, 6)], align=align, repair="none", fold="average"
    )
    torch.testing.assert_close(result.model(x), fresh(result.model)(x), rtol=0, atol=0)
    if result.alignment is not None:
        for aligned, model in zip(result.alignment.apply(members), members, strict=True):
            torch.testing.assert_close(aligned(x), model(x))
    assert all(model.kept for model in members)


def test_networks_on_the_line_between_two_that_have_run(members: list[nn.Module]) -> None:
    x = torch.randn(3, 5, 6)
    middle = combine(members, (0.5, 0.5))
    torch.testing.assert_close(middle(x), fresh(middle)(x), rtol=0, atol=0)


def test_the_networks_of_a_subspace(members: list[nn.Module]) -> None:
    x = torch.randn(3, 5, 6)
    space = onefold.Subspace(
        members[0], "line", init=lambda network: network.load_state_dict(members[1].state_dict())
    )
    for network in (space.vertex(1), space.midpoint(), space.at(0.25)):
        torch.testing.assert_close(network(x), fresh(network)(x), rtol=0, atol=0)
    space.eval()
    torch.testing.assert_close(space(x), fresh(space.midpoint())(x), rtol=0, atol=0)
    space.train()
    space.sample()
    with torch.no_grad():
        for vertex in space.vertices:
            vertex.get_parameter("table").mul_(2)
    space.eval()
    torch.testing.assert_close(space(x), fresh(space.midpoint())(x), rtol=0, atol=0)


def test_gates_over_networks_that_have_run(members: list[nn.Module]) -> None:
    x = torch.randn(3, 5, 6)
    soft = onefold.SoftMerge(members, level="layer", align="none", screen=False)
    soft.prepare([(torch.randn(20, 5, 6), torch.arange(100).view(20, 5) % 2)])
    plain = soft.harden()
    torch.testing.assert_close(plain(x), fresh(plain)(x), rtol=0, atol=0)


def test_the_proof_of_a_network_that_has_run(members: list[nn.Module]) -> None:
    x = torch.randn(2, 5, 6)
    spec = onefold.find_symmetries(Keeps(), x)
    assert any(slot.tensor == "table" for group in spec.groups for slot in group.slots)
    assert onefold.verify_symmetries(spec, members[0], x).passed
