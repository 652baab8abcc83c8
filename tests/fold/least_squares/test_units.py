"""Folding by pruning: copies fold to what they share, and units that matter stay."""

from __future__ import annotations

import copy

import pytest
import torch
from corner_networks import off
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
from onefold.fold import LeastSquares, merge
from onefold.fold.least_squares import sensitivity, solver, units
from onefold.fold.least_squares.outputs import Calibration, SiteOutputs
from onefold.symmetry import solve, trace
from onefold.symmetry.axes import Fixed, Live, Prod, Sum
from onefold.symmetry.probing import spread


class Heads(nn.Module):
    """Hidden features as heads of a few: layers read whole heads, the features of each, or all."""

    def __init__(self, heads: int, size: int, swapped: bool) -> None:
        super().__init__()
        self.swapped = swapped
        self.first, self.all = nn.Linear(5, heads * size), nn.Linear(heads * size, 4)
        self.inside, self.across = nn.Linear(size, 2), nn.Linear(heads, 2)
        self.last = nn.Linear(2 * (size if swapped else heads) + 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).tanh()
        heads = h.unflatten(-1, (self.across.in_features, self.inside.in_features))
        read = self.across(heads.transpose(-1, -2)) if self.swapped else self.inside(heads)
        return self.last(torch.cat([read.flatten(-2).tanh(), self.all(h).tanh()], -1))


@pytest.mark.parametrize(("heads", "size", "swapped"), [(4, 3, False), (3, 4, True), (2, 6, False)])
def test_units_of_a_product_are_taken_from_one_member(heads: int, size: int, swapped: bool) -> None:
    torch.manual_seed(heads)
    model = Heads(heads, size, swapped).eval()
    data = [torch.randn(64, 5) for _ in range(4)]
    merged = onefold.merge(
        [model, copy.deepcopy(model)],
        data,
        align="none",
        fold=LeastSquares("pruning"),
        repair="none",
    )
    assert off(model, merged.model, data[0]) < 0.01


TEST = loader(512, seed=99, batch=128)


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


@pytest.mark.slow
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
        fold=LeastSquares(target="pruning", rows=100_000, ridge=1e-9),
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
        fold=LeastSquares(target="pruning", rows=100_000, ridge=1e-9),
    )
    assert difference(other.model, model, x) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Convolutional, Recurrent])
def test_every_layer_is_folded_or_named(kind: type[nn.Module]) -> None:
    models = [network(kind, k) for k in range(3)]
    before = [copy.deepcopy(m.state_dict()) for m in models]
    report = merge(
        models, batches_of(kind), align="permutation", fold=LeastSquares(target="pruning")
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


@pytest.mark.slow
def test_it_beats_the_repaired_average_and_repeats_itself() -> None:
    networks, data = members(Residual, 3), loader(512)
    folded, again = (
        merge(networks, data, align="permutation", fold=LeastSquares(target="pruning"))
        for _ in range(2)
    )
    average = merge(networks, data, align="permutation", fold="average")
    accuracy = [onefold.evaluate(m, TEST).accuracy for m in (folded.model, average.model)]
    assert accuracy[0] > 0.9
    assert accuracy[0] >= accuracy[1]
    assert all(
        torch.equal(v, again.model.state_dict()[k]) for k, v in folded.model.state_dict().items()
    )
    assert all(len(counts) == 3 for counts in folded.report.folded["units"].values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Projected, Convolutional, Recurrent])
def test_it_is_all_one_whether_targets_are_read_on_the_way_or_in_runs_of_their_own(
    kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    models, data = [network(kind, k) for k in range(3)], batches_of(kind)
    run, alone = SiteOutputs.run_member, []
    monkeypatch.setattr(
        SiteOutputs, "run_member", lambda own, member: alone.append(member) or run(own, member)
    )
    together = merge(
        models, data, align="permutation", fold=LeastSquares(target="pruning")
    ).model.state_dict()
    assert not alone
    monkeypatch.setattr(solver, "IN_MEMORY", 2)
    apart = merge(
        models, data, align="permutation", fold=LeastSquares(target="pruning")
    ).model.state_dict()
    assert sorted(alone) == [0, 1, 2]
    for name, value in together.items():
        torch.testing.assert_close(apart[name], value)


def test_the_metric_is_taken_from_a_quarter_of_the_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    slopes = sensitivity.slopes_of
    monkeypatch.setattr(
        sensitivity, "slopes_of", lambda *given: sizes.append(given[3].size) or slopes(*given)
    )
    models = [network(Mlp, k) for k in range(2)]
    for count, most, wanted in (
        (512, sensitivity.SENSED, 128),
        (64, sensitivity.SENSED, 64),
        (512, 64, 64),
    ):
        monkeypatch.setattr(sensitivity, "SENSED", most)
        sizes.clear()
        merge(models, batches_of(Mlp, count), align="none", fold="least_squares")
        assert sum(sizes) == wanted


@pytest.mark.slow
def test_few_columns_serve_where_all_would_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    networks, data = members(Residual, 2), loader(512)
    monkeypatch.setattr(sensitivity, "COLUMNS", 40)
    folded = merge(networks, data, align="permutation", fold=LeastSquares(target="pruning"))
    assert onefold.evaluate(folded.model, TEST).accuracy > 0.85


@pytest.mark.slow
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
            fold=LeastSquares(target="correlation"),
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
    found = torch.cat(sensitivity.directions(logits, (0.3, 0.7), pool, generator), 1)
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


@pytest.mark.slow
def test_bad_settings_are_refused() -> None:
    networks = members(Residual, 2)
    with pytest.raises(SettingError, match="probabilities"):
        merge(networks, loader(), fold="least_squares", ensemble="probability")
    with pytest.raises(SettingError, match="aims at no ensemble"):
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


def test_few_gradients_stand_for_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root of the metric has as many columns as there are gradients, and chooses alike."""
    kept: list[tuple[int, int]] = []
    real = units.eliminate

    def noted(regressions, *rest):  # type: ignore[no-untyped-def]
        kept.extend((r.cross.shape[1], r.cross.shape[0]) for r in regressions)
        return real(regressions, *rest)

    monkeypatch.setattr(units, "eliminate", noted)
    models, data = members(Residual, 3), loader(64)
    few = merge(models, data, align="none", fold="least_squares")
    columns, kept[:] = [c for c, _ in kept], []

    def forgotten(consumer, g):  # type: ignore[no-untyped-def]
        real_add(consumer, g)
        consumer.slopes = None

    real_add = sensitivity._add
    monkeypatch.setattr(sensitivity, "_add", forgotten)
    whole = merge(models, data, align="none", fold="least_squares")
    assert few.report.folded["units"] == whole.report.folded["units"]
    for name, value in few.model.state_dict().items():
        torch.testing.assert_close(value, whole.model.state_dict()[name])
    # No root has more columns than the metric has rank.
    assert max(columns) <= 64
    assert all(c <= 64 for c, _ in kept)
