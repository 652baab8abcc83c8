"""Folding by pruning: elimination is what its formula says; copies fold to what they share; picks;
units that matter stay.
"""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from least_squares_networks import (
    Attention,
    Convolutional,
    Mlp,
    Projected,
    Recurrent,
    batches_of,
    difference,
    inputs_of,
    network,
    permuted,
)
from small_networks import Residual, loader, members
from torch import Tensor, nn

import onefold
from onefold.batches import batches
from onefold.ensemble.pool import mean_pool
from onefold.errors import DataError, SettingError
from onefold.fold import merge
from onefold.fold.least_squares import fold as least_squares
from onefold.fold.least_squares import units
from onefold.fold.least_squares.elimination import Regression, keep
from onefold.fold.least_squares.outputs import Calibration, SiteOutputs
from onefold.fold.least_squares.selection import Picks, alignment_of, side_by_side
from onefold.symmetry import solve, trace
from onefold.symmetry.axes import Fixed, Live, Prod, Sum
from onefold.symmetry.probing import spread

TEST = loader(512, seed=99, batch=128)


def regression(x: Tensor, y: Tensor, block: int) -> Regression:
    x, y = x - x.mean(0), y - y.mean(0)
    return Regression(x.T @ x / len(x), x.T @ y / len(x), block)


def error(x: Tensor, y: Tensor, units: list[int], block: int, ridge: float) -> float:
    """E(S) by its definition, lambda m being that of all units."""
    x, y = x - x.mean(0), y - y.mean(0)
    loading = ridge * (x.square().sum(0) / len(x)).mean()
    own = x[:, [u * block + k for u in units for k in range(block)]]
    gram = own.T @ own / len(x) + loading * torch.eye(own.shape[1], dtype=x.dtype)
    v = torch.linalg.solve(gram, own.T @ y / len(x))
    return float((y - own @ v).square().sum() / len(x) + loading * v.square().sum())


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(3, 7))
def test_elimination_takes_out_the_unit_whose_absence_costs_least(
    seed: int, block: int, units: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(60, units * block, generator=generator, dtype=torch.float64)
    y = x @ torch.randn(units * block, 4, generator=generator, dtype=torch.float64) + torch.randn(
        60, 4, generator=generator, dtype=torch.float64
    )
    left = list(range(units))
    for count in range(units - 1, 0, -1):
        costs = {u: error(x, y, [v for v in left if v != u], block, 0.01) for u in left}
        left.remove(min(costs, key=costs.__getitem__))
        assert keep([regression(x, y, block)], units, count, 0.01, at_once=0.0).tolist() == left


def test_of_two_units_that_do_the_same_one_stays() -> None:
    """Many go at once, and still no pair goes together; the control has no copies, and then the
    weak ones go.
    """
    x = torch.randn(500, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    y = x @ torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    kept = keep([regression(x.repeat(1, 2)[:, order], y, 1)], 80, 40, 1e-6, at_once=0.5)
    assert sorted((order[kept] % 40).tolist()) == list(range(40))
    weak = torch.cat([x, 1e-3 * torch.randn_like(x)], 1)
    assert keep([regression(weak, y, 1)], 80, 40, 1e-6).tolist() == list(range(40))


def test_readers_add_up() -> None:
    x = torch.randn(300, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, two = x[:, :1], 3 * x[:, 1:2]
    first, second = regression(x, one, 1), regression(x, two, 1)
    assert keep([first], 3, 1, 1e-6).tolist() == [0]
    assert keep([second], 3, 1, 1e-6).tolist() == [1]
    assert keep([first, second], 3, 1, 1e-6).tolist() == [1]
    assert keep([first, second], 3, 2, 1e-6).tolist() == [0, 1]


def test_the_references_units_keep_their_places() -> None:
    picks = Picks.placed(
        torch.tensor([0, 2, 5, 7]), 4, 0
    )  # units 0 and 2 of member 0, 1 and 3 of member 1
    assert picks.member.tolist() == [0, 1, 0, 1]
    assert picks.unit.tolist() == [0, 1, 2, 3]
    other = Picks.placed(torch.tensor([0, 2, 5, 7]), 4, 1)
    assert (other.member.tolist(), other.unit.tolist()) == ([0, 1, 0, 1], [0, 1, 2, 3])
    for k in range(2):
        forward = other.map_of(k).forward
        assert sorted(forward.tolist()) == [0, 1, 2, 3]
        assert (forward[other.member == k] == other.unit[other.member == k]).all()


def test_members_side_by_side_are_their_mean_over_the_units_that_stay() -> None:
    """y = sum_k a_k (V_k h_k + c_k), each member's sum running over its own units that were picked."""
    models = [nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double() for _ in range(2)]
    x = torch.randn(50, 4, dtype=torch.float64)
    spec = onefold.find_symmetries(models[0], x)
    picks = Picks.placed(
        torch.tensor([0, 3, 4, 7, 8, 11]), 6, 0
    )  # units 0, 3, 4 of member 0, and 1, 2, 5 of member 1
    name = next(group.name for group in spec.groups if group.size == 6)
    mapped = alignment_of({name: picks}, None, spec, 2, 0)
    states = [mapped.apply_to_state(model.state_dict(), k) for k, model in enumerate(models)]
    shares = (0.7, 0.3)
    average = {key: 0.7 * states[0][key] + 0.3 * states[1][key] for key in states[0]}
    folded = copy.deepcopy(models[0])
    folded.load_state_dict(side_by_side(states, spec, {name: picks}, shares, average))
    with torch.no_grad():
        wanted = torch.zeros(50, 3, dtype=torch.float64)
        for share, model, own in zip(shares, models, ([0, 3, 4], [1, 2, 5]), strict=True):
            wanted += share * (
                model[1](model[0](x))[:, own] @ model[2].weight[:, own].T + model[2].bias
            )
        torch.testing.assert_close(folded(x), wanted)


def test_values_are_spread_over_composite_axes() -> None:
    values = {"g": torch.tensor([1.0, 0.0]), "h": torch.tensor([0.0, 1.0])}
    term = Sum(
        (Prod((Live("g", 2), Fixed("f", 2))), Fixed("x", 1), Prod((Live("h", 2), Live("g", 2))))
    )
    assert spread(term, values, 1.0).tolist() == [1, 1, 0, 0, 1, 0, 0, 1, 0]
    assert spread(term, {"g": torch.tensor([0, 1])}, -1).tolist() == [0, 0, 1, 1, -1, 0, 1, 0, 1]


class Joined(nn.Module):
    """A layer reads two groups of units side by side, another reads units that lie scattered: all
    channels of a place, place by place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 5, 3, stride=2), nn.Conv2d(1, 4, 3, stride=2)
        self.both, self.head = nn.Conv2d(9, 6, 2), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.both(torch.cat([torch.tanh(self.left(x)), torch.tanh(self.right(x))], 1))
        return self.head(torch.relu(x).permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize("kind", [Mlp, Projected, Attention, Joined])
def test_permuted_copies_fold_to_the_function_that_they_share(
    kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells the fold how they are permuted: of every pair of units one is superfluous."""
    monkeypatch.setattr(units, "RIDGE", 1e-9)
    data, model = batches_of(kind, 512), network(kind, 0)
    twin, _, _ = permuted(model, data, 3)
    x = inputs_of(kind, 64, 9)
    align = "permutation" if kind is Attention else "none"
    result = merge(
        [model, twin],
        data,
        align=align,
        fold="least_squares",
        target="pruning",
        rows=100_000,
        ridge=1e-9,
    )
    assert difference(result.model, model, x) < 1e-3
    assert all(
        sum(counts) == len(counts) * sum(counts) // 2
        for counts in result.report.folded["units"].values()
    )
    other = merge(
        [model, network(kind, 1)],
        data,
        align=align,
        fold="least_squares",
        target="pruning",
        rows=100_000,
        ridge=1e-9,
    )
    assert difference(other.model, model, x) > 1e-2


@pytest.mark.parametrize("kind", [Convolutional, Recurrent])
def test_every_layer_is_folded_or_named(kind: type[nn.Module]) -> None:
    models = [network(kind, k) for k in range(3)]
    before = [copy.deepcopy(m.state_dict()) for m in models]
    report = merge(
        models, batches_of(kind), align="permutation", fold="least_squares", target="pruning"
    ).report
    names = {name for name, p in models[0].named_parameters() if p.dim() > 1}
    assert names <= {
        part for one in report.folded["layers"] for part in one["weights"].split(" + ")
    } | set(report.folded["averaged"])
    assert all(
        torch.equal(v, m.state_dict()[k])
        for m, s in zip(models, before, strict=True)
        for k, v in s.items()
    )


def test_units_that_no_layer_of_their_member_uses_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """One member's layer reads the second half of its units alone, the other's the first half of
    its own, of other weights.
    """
    monkeypatch.setattr(units, "RIDGE", 1e-9)
    parts = [network(Mlp, 0), network(Mlp, 1)]
    with torch.no_grad():
        for part, gone in zip(parts, (slice(0, 4), slice(4, 8)), strict=True):
            part.two.weight[:, gone] = 0.0  # type: ignore[union-attr, index]
    data = batches_of(Mlp, 512)
    traced = trace(parts[0], (data[0],))
    calibration = Calibration(list(batches(data)), 4096, 0)
    found = units.choose_units(
        traced,
        solve(traced),
        [p.state_dict() for p in parts],
        calibration,
        (0.5, 0.5),
        0,
        {"one.weight", "two.weight", "head.weight"},
    )
    picks = next(own for own in found.values() if len(own.unit) == 8)
    assert sorted(picks.unit[picks.member == 0].tolist()) == [4, 5, 6, 7]
    assert sorted(picks.unit[picks.member == 1].tolist()) == [0, 1, 2, 3]


def test_where_no_unit_matters_the_first_members_stay() -> None:
    parts = [network(Mlp, 0), network(Mlp, 1)]
    with torch.no_grad():
        for part in parts:
            part.head.weight.zero_()  # type: ignore[union-attr, operator]
    report = merge(parts, batches_of(Mlp), align="none", fold="least_squares").report
    assert [8, 0] in report.folded["units"].values()


def test_members_that_put_out_what_is_not_finite_are_refused() -> None:
    parts = [network(Mlp, 0), network(Mlp, 1)]
    with torch.no_grad():
        parts[1].head.weight.fill_(1e308)  # type: ignore[union-attr, operator]
    with pytest.raises(DataError, match=r"not finite|non-finite"):
        merge(parts, batches_of(Mlp), align="none", fold="least_squares")


def test_it_beats_the_repaired_average_and_repeats_itself() -> None:
    networks, data = members(Residual, 3), loader(512)
    folded, again = (
        merge(networks, data, align="permutation", fold="least_squares", target="pruning")
        for _ in range(2)
    )
    average = merge(networks, data, align="permutation")
    accuracy = [onefold.evaluate(m, TEST).accuracy for m in (folded.model, average.model)]
    assert accuracy[0] > 0.9
    assert accuracy[0] >= accuracy[1]
    assert all(
        torch.equal(v, again.model.state_dict()[k]) for k, v in folded.model.state_dict().items()
    )
    assert all(len(counts) == 3 for counts in folded.report.folded["units"].values())


@pytest.mark.parametrize("kind", [Projected, Convolutional, Recurrent])
def test_it_is_all_one_whether_targets_are_read_on_the_way_or_in_runs_of_their_own(
    kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    models, data = [network(kind, k) for k in range(3)], batches_of(kind)
    run, alone = SiteOutputs._run, []
    monkeypatch.setattr(
        SiteOutputs, "_run", lambda own, member: alone.append(member) or run(own, member)
    )
    together = merge(
        models, data, align="permutation", fold="least_squares", target="pruning"
    ).model.state_dict()
    assert not alone
    monkeypatch.setattr(least_squares, "KEPT", 2)
    apart = merge(
        models, data, align="permutation", fold="least_squares", target="pruning"
    ).model.state_dict()
    assert sorted(alone) == [0, 1, 2]
    for name, value in together.items():
        torch.testing.assert_close(apart[name], value)


def test_the_metric_is_taken_from_a_quarter_of_the_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    slopes = units._slopes
    monkeypatch.setattr(
        units, "_slopes", lambda *given: sizes.append(given[3].size) or slopes(*given)
    )
    models = [network(Mlp, k) for k in range(2)]
    for count, most, wanted in ((512, units.SENSED, 128), (64, units.SENSED, 64), (512, 64, 64)):
        monkeypatch.setattr(units, "SENSED", most)
        sizes.clear()
        merge(models, batches_of(Mlp, count), align="none", fold="least_squares")
        assert sum(sizes) == wanted


def test_few_columns_serve_where_all_would_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    networks, data = members(Residual, 2), loader(512)
    monkeypatch.setattr(units, "COLUMNS", 40)
    folded = merge(networks, data, align="permutation", fold="least_squares", target="pruning")
    assert onefold.evaluate(folded.model, TEST).accuracy > 0.85


def test_a_mean_of_probabilities_is_aimed_at() -> None:
    """One member is far surer than the other: the mean of logits follows it alone, the mean of
    probabilities does not.
    """
    networks, data = members(Residual, 2), loader(512)
    loud = copy.deepcopy(networks[1])
    head = [m for m in loud.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.mul_(-30.0)  # sure of what is wrong
        head.bias.mul_(-30.0)
    pair, accuracy = [networks[0], networks[0], loud], {}
    for ensemble in ("logits", "probabilities"):
        folded = merge(
            pair,
            data,
            align="permutation",
            fold="least_squares",
            target="correlation",
            ensemble=ensemble,
        ).model
        accuracy[ensemble] = onefold.evaluate(folded, TEST).accuracy
        assert onefold.evaluate(pair, TEST, ensemble=ensemble).accuracy == pytest.approx(
            accuracy[ensemble], abs=0.1
        )
    assert accuracy["probabilities"] > accuracy["logits"] + 0.5


@pytest.mark.parametrize("ensemble", ["logits", "probabilities", "classes"])
def test_directions_are_gradients_of_what_the_ensemble_says(ensemble: str) -> None:
    """The Fisher information from sampled classes is the expectation of outer products of gradients
    of log-probabilities.
    """
    generator = torch.Generator().manual_seed(0)
    logits = [
        torch.randn(1, 3, generator=generator, dtype=torch.float64).expand(20_000, 3)
        for _ in range(2)
    ]
    counted = onefold.class_pool(
        [nn.Identity()] * 2, counts=[[30, 1, 5], [2, 80, 6]], shares=[0.2, 0.3, 0.5]
    )
    pool = {"logits": None, "probabilities": mean_pool((0.3, 0.7)), "classes": counted}[ensemble]
    found = torch.cat(units._directions(logits, (0.3, 0.7), pool, generator), 1)
    metric = found.T @ found / len(found)
    z = torch.cat([x[0] for x in logits]).requires_grad_()
    if pool is not None:
        p = (
            0.3 * z[:3].softmax(0) + 0.7 * z[3:].softmax(0)
            if ensemble == "probabilities"
            else pool.combined([z[:3], z[3:]]).softmax(0)
        )
        slopes = torch.stack(
            [torch.autograd.grad(p[c].log(), z, retain_graph=True)[0] for c in range(3)]
        )
        expected = torch.einsum("c,ci,cj->ij", p.detach(), slopes, slopes)
    else:
        slopes = torch.cat([0.3 * torch.eye(3), 0.7 * torch.eye(3)], 1).double()
        expected = slopes.T @ slopes
    torch.testing.assert_close(metric, expected, atol=0.02, rtol=0.05)


def test_bad_settings_are_refused() -> None:
    networks = members(Residual, 2)
    for setting, wanted in (
        ({"target": "prunning"}, "pruning"),
        ({"ensemble": "probability"}, "probabilities"),
    ):
        with pytest.raises(SettingError, match=wanted):
            merge(networks, loader(), fold="least_squares", **setting)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="takes no ensemble"):
        merge(networks, loader(), fold="average", ensemble="probabilities")
    assert (
        merge(
            networks, loader(), fold="average", ensemble="probabilities", polish=1
        ).report.polished["ensemble"]
        == "probabilities"
    )


class Frozen(nn.Module):
    """No unit of it can be picked, as a weight that is used twice reads them; and its output is no
    layer's own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.head(
            torch.tanh(self.twice(torch.tanh(self.twice(torch.tanh(self.first(x))))))
        )


def test_what_cannot_be_done_as_asked_is_said() -> None:
    models = [Frozen().double().eval() for _ in range(2)]
    data = list(torch.randn(256, 6, dtype=torch.float64).split(64))
    report = merge(
        models, data, align="permutation", fold="least_squares", ensemble="probabilities"
    ).report
    assert report.folded["units"] == {}
    assert any("instead of pruning" in w for w in report.warnings)
    assert any("puts out the logits" in w for w in report.warnings)
    plain = merge(
        [network(Mlp, 0), network(Mlp, 1)],
        batches_of(Mlp),
        align="none",
        fold="least_squares",
        ensemble="probabilities",
    ).report
    assert plain.warnings == []
