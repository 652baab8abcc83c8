"""Folds of other widths: K times a member's width is the ensemble, and budgets are met."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.batches import Batch
from onefold.errors import SettingError
from onefold.widths.costs import multiply_adds


class Convolutions(nn.Module):
    """Batch norm, a residual block and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.one, self.two = nn.Conv2d(5, 7, 3, padding=1), nn.Conv2d(7, 5, 1)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.two(self.one(x).relu())).relu()
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    """An LSTM and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 3))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (plain, (4,)),
    "convolutions": (Convolutions, (2, 6, 6)),
    "recurrent": (Recurrent, (3, 3)),
}


def members(name: str, count: int, dtype: torch.dtype = torch.float64) -> list[nn.Module]:
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        network = CASES[name][0]().to(dtype)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0.0, 0.3)
                module.running_var.uniform_(0.5, 2.0)
        made.append(network.eval())
    return made


def inputs(name: str, count: int = 400, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return list(torch.randn(count, *CASES[name][1], generator=generator, dtype=dtype).split(100))


def fold(networks: list[nn.Module], data: list[Tensor], **settings: object) -> onefold.MergeResult:
    method = onefold.LeastSquares(ensemble="logits", **settings)
    return onefold.merge(networks, data, align="none", fold=method)


@functools.cache
def one_wide(name: str) -> nn.Module:
    """Two networks folded to the width of one."""
    return fold(members(name, 2), inputs(name), width=1.0).model


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_k_times_the_width_is_the_ensemble_of_logits(name: str, count: int) -> None:
    networks, data = members(name, count), inputs(name)
    before = [{k: v.clone() for k, v in one.state_dict().items()} for one in networks]
    mean = sum(one(data[0]) for one in networks) / count
    whole = fold(networks, data, width=float(count))
    assert apart(whole.model(data[0]), mean) < 1e-6
    if count == 2:  # the control
        assert apart(one_wide(name)(data[0]), mean) > 1e-4
    for network, state in zip(networks, before, strict=True):
        assert all(torch.equal(state[k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize("name", CASES)
def test_a_wider_result_is_nearer_to_the_ensemble(name: str) -> None:
    networks, data = members(name, 2), inputs(name)
    mean = (networks[0](data[0]) + networks[1](data[0])) / 2
    narrow, wide = (fold(networks, data, width=w).model for w in (0.4, 1.7))
    errors = [apart(one(data[0]), mean) for one in (narrow, one_wide(name), wide)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("budget", ["0.6x", "1x", "1.5x", "0.7x parameters", "1.3x bytes"])
def test_a_budget_is_met_and_nearly_spent(budget: str) -> None:
    networks, data = members("convolutions", 2), inputs("convolutions")
    made = fold(networks, data, budget=budget)
    factor = float(budget.split("x")[0])
    batch = Batch((data[0],))
    found = {
        "multiply-adds": multiply_adds(made.model, batch) / multiply_adds(networks[0], batch),
        "parameters": _count(made.model) / _count(networks[0]),
    }
    found["bytes"] = found["parameters"]
    unit = budget.split()[-1] if " " in budget else "multiply-adds"
    assert 0.85 * factor < found[unit] <= factor + 1e-9
    told = made.report.folded["factors"]
    assert told == pytest.approx(found)
    assert type(made.model) is Convolutions


def test_the_same_seed_gives_the_same_bits() -> None:
    networks, data = members("convolutions", 2), inputs("convolutions")
    one, two = (fold(networks, data, budget="1.4x").model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_width_that_the_code_has_written_down_stays_and_is_told() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.mid, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.into(x).relu().view(-1, 8)
            return self.head(self.mid(x).relu())

    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(Written().double().eval())
    data = list(torch.randn(400, 4, dtype=torch.float64).split(100))
    made = fold(networks, data, width=2.0)
    assert made.model.into.weight.shape == (8, 4)
    assert made.model.mid.weight.shape == (16, 8)
    assert any("keeps its width" in note for note in made.report.warnings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"width": 0.5, "budget": "1x"}, "give one of them"),
        ({"width": 0.0}, "must be greater than 0"),
        ({"width": float("nan")}, "must be greater than 0"),
        ({"budget": "half"}, "must be a factor of one network's"),
        ({"width": 0.5, "target": "equal"}, "take the target 'pruning'"),
    ],
)
def test_what_is_no_width_is_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        onefold.LeastSquares(**settings)


def test_a_budget_that_cannot_be_met_is_refused_with_the_least_one() -> None:
    with pytest.raises(SettingError, match=r"cannot be met.*which is 0\.\d\d times one member's"):
        fold(members("convolutions", 2), inputs("convolutions"), budget="0.001x")


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_a_member_that_is_kept_whole_computes_the_same_beside_the_units_of_others() -> None:
    """What the reference's units compute is in the result, wherever the others are few."""
    networks, data = members("plain", 2), inputs("plain")
    with torch.no_grad():
        networks[1][4].weight.mul_(0.0)  # the other's units do nothing
        networks[1][4].bias.mul_(0.0)
        result = fold(networks, data, width=1.3, keep="member", ridge=1e-9)
        whole = (networks[0](data[0]) + networks[1](data[0])) / 2
        assert apart(result.model(data[0]), whole) < 1e-5
    assert result.report.folded["keep"] == "member"
    for counts in result.report.folded["units"].values():
        assert counts[0] == {12: 9, 8: 6}[sum(counts)]


def test_the_way_that_is_nearer_to_the_ensemble_is_taken() -> None:
    """Of copies under permutations one member whole is the ensemble; units of both need not be."""
    networks, data = members("plain", 1), inputs("plain")
    networks.append(copy.deepcopy(networks[0]))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for first, second in ((0, 2), (2, 4)):
            order = torch.randperm(networks[1][first].out_features, generator=generator)
            networks[1][first].weight.copy_(networks[1][first].weight[order].clone())
            networks[1][first].bias.copy_(networks[1][first].bias[order].clone())
            networks[1][second].weight.copy_(networks[1][second].weight[:, order].clone())
    found = {
        keep: fold(networks, data, budget="1x", keep=keep).report.folded
        for keep in ("nearest", "units", "member")
    }
    gaps = found["nearest"]["distances"]
    assert set(gaps) == {"member", "units"}
    assert found["nearest"]["keep"] == "member"
    assert gaps["member"] <= gaps["units"]
    assert gaps["member"] < 1e-8
    assert found["units"]["distances"] == found["member"]["distances"] == {}
    assert found["units"]["keep"] == "units"


def test_units_of_all_are_taken_where_they_are_nearer() -> None:
    """Units that only the other member has are worth more than those of the reference."""
    networks, data = members("plain", 2), inputs("plain")
    with torch.no_grad():
        networks[0][4].weight.mul_(1e-3)  # what the reference computes hardly counts
        networks[1][4].weight.mul_(10.0)
    found = fold(networks, data, budget="1.2x").report.folded
    assert found["keep"] == "units"
    assert found["distances"]["units"] < found["distances"]["member"]
    assert fold(networks, data, keep="nearest").report.folded["keep"] == "units"


@pytest.mark.parametrize("asked", [{"budget": "0.8x"}, {"width": 0.5}])
def test_a_member_cannot_be_kept_whole_in_less_than_its_cost(asked: dict[str, object]) -> None:
    networks, data = members("plain", 2), inputs("plain")
    with pytest.raises(SettingError, match="all units of a member stay"):
        onefold.LeastSquares(keep="member", **asked)
    assert fold(networks, data, **asked).report.folded["keep"] == "units"


def test_a_number_below_a_member_is_told_apart_when_its_cost_is_known() -> None:
    networks, data = members("plain", 2), inputs("plain")
    with pytest.raises(SettingError, match="budget 50 parameters cannot be met"):
        fold(networks, data, keep="member", budget="50 parameters")
    with pytest.raises(SettingError, match="cannot keep 'members'"):
        onefold.LeastSquares(keep="members")


def test_what_is_kept_is_told_where_it_is_asked() -> None:
    assert "keep" not in onefold.LeastSquares(budget="1.5x").settings()
    assert onefold.LeastSquares(keep="nearest").settings()["keep"] == "nearest"
    with pytest.raises(SettingError, match="leave width, budget and keep out"):
        onefold.LeastSquares(target="equal", keep="member")


def test_a_member_is_kept_whole_at_its_own_width_where_that_is_asked() -> None:
    networks, data = members("plain", 2), inputs("plain")
    whole = fold(networks, data, keep="member")
    assert all(others == 0 for _, others in whole.report.folded["units"].values())
    own = {name: tensor for name, tensor in networks[0].state_dict().items() if name[0] != "4"}
    for name, tensor in own.items():
        torch.testing.assert_close(whole.model.state_dict()[name], tensor, rtol=1e-6, atol=1e-6)
    apart_before = distance_to_mean(networks, networks[0], data)
    assert distance_to_mean(networks, whole.model, data) < apart_before
    nearest = fold(networks, data, keep="nearest").report.folded
    assert nearest["keep"] == min(nearest["distances"], key=nearest["distances"].get)
    plain_fold, units = fold(networks, data), fold(networks, data, keep="units")
    for name, tensor in plain_fold.model.state_dict().items():
        assert torch.equal(tensor, units.model.state_dict()[name])


def distance_to_mean(networks: list[nn.Module], network: nn.Module, data: list[Tensor]) -> float:
    with torch.no_grad():
        aims = [torch.stack([n(x) for n in networks]).mean(0) for x in data]
        return sum(float((network(x) - a).square().sum()) for x, a in zip(data, aims, strict=True))
