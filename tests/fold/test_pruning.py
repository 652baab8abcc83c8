"""Pruning keeps what is needed: units that do the same, or nothing, go without a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.errors import DataError, SettingError, WidthsError


def doubled(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """A network, and one of twice the width that computes the same by pairs of like units."""
    torch.manual_seed(seed)
    small = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    wide = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        previous = 1
        for k in (0, 2, 4):
            out = 1 if k == 4 else 2
            weight = small[k].weight.repeat_interleave(previous, 1) / previous
            wide[k].weight.copy_(weight.repeat_interleave(out, 0))
            wide[k].bias.copy_(small[k].bias.repeat_interleave(out))
            previous = 2
    return small.double(), wide.double()


def batches(seed: int = 1, count: int = 600) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(count, 5, generator=generator, dtype=torch.float64).split(100))


def test_units_that_do_the_same_go_without_a_loss() -> None:
    small, wide = doubled()
    data = batches()
    assert torch.allclose(small(data[0]), wide(data[0]))
    before = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    exact = onefold.LeastSquares(ridge=1e-12)
    pruned = onefold.prune(wide, data, width=0.5, method=exact)
    assert [tuple(p.shape) for p in pruned.model.parameters()] == [
        tuple(p.shape) for p in small.parameters()
    ]
    assert torch.allclose(pruned.model(data[0]), wide(data[0]), atol=1e-6)
    assert all(torch.equal(before[name], tensor) for name, tensor in wide.state_dict().items())
    assert pruned.report.widths == {"g0": (12, 6), "g1": (8, 4)}
    # the control: here each unit is needed
    further = onefold.prune(small, data, width=0.5, method=exact)
    assert not torch.allclose(further.model(data[0]), small(data[0]), atol=1e-2)


def test_a_budget_takes_what_is_spare_where_it_is() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)
    ).double()
    with torch.no_grad():
        network[2].weight[4:] = 0.0  # eight of the second group's units are constant
    data = batches()
    pruned = onefold.prune(network, data, budget="0.5x")
    assert pruned.report.widths["g1"][1] <= 5
    assert pruned.report.factors["multiply-adds"] <= 0.5
    assert torch.allclose(pruned.model(data[0]), network(data[0]), atol=1e-2)


def test_a_pruned_network_trains_is_saved_and_loaded(tmp_path: Path) -> None:
    _, wide = doubled()
    pruned = onefold.prune(wide, batches(), width=0.5).model
    onefold.save(pruned, tmp_path / "pruned.safetensors")
    again = onefold.load_resized(lambda: doubled()[1], tmp_path / "pruned.safetensors")
    x = batches()[0]
    assert torch.equal(again(x), pruned(x))
    again.train()
    again(x).square().mean().backward()
    assert all(p.grad is not None for p in again.parameters())


def test_polish_goes_on_from_the_original() -> None:
    small, _ = doubled()
    data = [batch.float() for batch in batches()]
    network = small.float()
    bare = onefold.prune(network, data, width=0.5)
    polished = onefold.prune(network, data, width=0.5, polish=onefold.Polish(passes=5, lr=1e-2))
    assert polished.report.polished["passes"] == 5

    def distance(model: nn.Module) -> float:
        x = torch.cat(data)
        q = network(x).log_softmax(1)
        return float((q.exp() * (q - model(x).log_softmax(1))).sum(1).mean())

    assert distance(polished.model) < distance(bare.model)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "Pruning needs to know how much is to stay"),
        ({"width": 0.5, "budget": "0.5x"}, "give one of them"),
        ({"width": 1.5}, "no more units than its own"),
        ({"width": 0}, "must be greater than 0"),
        ({"budget": "0.0001x"}, "cannot be met"),
        ({"width": 0.5, "method": onefold.LeastSquares(ensemble="classes")}, "has no ensemble"),
    ],
)
def test_what_cannot_be_done_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        onefold.prune(doubled()[1], batches(), **given)


def test_a_network_without_units_to_spare_is_refused() -> None:
    with pytest.raises((WidthsError, DataError), match="can be narrowed"):
        onefold.prune(nn.Linear(5, 3).double(), batches(), width=0.5)


def test_the_report_says_what_is_left() -> None:
    result = onefold.prune(doubled()[1], batches(), width=0.5)
    assert "10 of 20 units are left in 2 groups" in str(result)
    assert "g0: 12 -> 6 units" in str(result.report)
    assert result.report.to_dict()["settings"]["width"] == 0.5
    assert "10 of 20 units" in result._repr_html_()
