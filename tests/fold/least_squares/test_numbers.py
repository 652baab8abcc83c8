"""What least squares aims at, unit by unit, and its regression, against their definitions."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from onefold.alignment import Alignment
from onefold.batches import batches
from onefold.ensemble.pool import ClassPool, mean_pool
from onefold.fold.least_squares.layers import find_sites
from onefold.fold.least_squares.output_layers import put_out
from onefold.fold.least_squares.outputs import Calibration, SiteOutputs
from onefold.fold.least_squares.ridge import RIDGES, Ridge
from onefold.fold.least_squares.selection import Picks, alignment_of
from onefold.fold.least_squares.targets import aims, correlations, is_put_out
from onefold.inference import ANY, Output
from onefold.symmetry import GroupMap, SymmetrySpec, TracedNetwork, solve, trace

UNITS = 6


class Two(nn.Module):
    """A hidden layer behind tanh, so that a unit may be turned round, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, UNITS), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x)))


class Convolved(nn.Module):
    """The same over a series."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Conv1d(2, UNITS, 3), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x)).mean(2))


SHAPES = {Two: (200, 4), Convolved: (100, 2, 7)}


def member(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return kind().double().eval()


def inputs(kind: type[nn.Module]) -> Tensor:
    return torch.randn(
        SHAPES[kind], generator=torch.Generator().manual_seed(9), dtype=torch.float64
    )


def turned(network: nn.Module, units: list[int], factor: float = -1.0) -> nn.Module:
    """A copy in which these units put out `factor` times as much, which changes its function."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.hidden.weight[units] *= factor
        other.hidden.bias[units] *= factor
    return other


@cache
def structure(kind: type[nn.Module]) -> tuple[TracedNetwork, SymmetrySpec]:
    traced = trace(member(kind), (inputs(kind),))
    return traced, solve(traced)


def targets_of(
    networks: list[nn.Module],
    x: Tensor,
    kind: str,
    shares: tuple[float, ...],
    threshold: float = 0.0,
    reference: int = 0,
    maps: dict[str, tuple[GroupMap, ...]] | None = None,
    picks: dict[str, Picks] | None = None,
    pool: ClassPool | None = None,
    output: Output = ANY,
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The goals of the hidden layer and of the head, and of each member what it puts out there, at
    the same positions.
    """
    traced, spec = structure(type(networks[0]))
    states = [{k: v.detach().clone() for k, v in n.state_dict().items()} for n in networks]
    sites, _ = find_sites(traced, spec, states[0])
    calibration = Calibration(list(batches([x])), 4096, 0)
    found = (
        None
        if maps is None
        else Alignment(
            "none", spec, reference, len(networks), maps, scores={}, conditions={}, matchers={}
        )
    )
    if picks is not None:
        found = alignment_of(picks, found, spec, len(networks), reference)
    read = SiteOutputs(traced, states, sites, calibration)
    put = None if pool is None else put_out(traced, states[reference], calibration.batches, output)
    goals = aims(
        read, spec, states, found, shares, reference, kind, threshold, picks or {}, pool, put
    )
    outputs = SiteOutputs(traced, states, sites, calibration)
    return goals, [outputs.of(k) for k in range(len(networks))]


@pytest.mark.parametrize("kind", [Two, Convolved])
def test_a_unit_that_goes_the_other_way_does_not_enter(kind: type[nn.Module]) -> None:
    """Its correlation is negative and counts as none: it neither cancels the reference's unit nor
    is turned round.
    """
    network, x = member(kind), inputs(kind)
    (hidden, head), own = targets_of(
        [network, turned(network, [0, 3])], x, "correlation", (0.5, 0.5)
    )
    torch.testing.assert_close(hidden, own[0][0])
    torch.testing.assert_close(head, (own[0][1] + own[1][1]) / 2)
    (plain, _), _ = targets_of([network, turned(network, [0, 3])], x, "equal", (0.5, 0.5))
    torch.testing.assert_close(
        plain[:, [0, 3]], torch.zeros_like(plain[:, [0, 3]])
    )  # the control: these units cancel


@pytest.mark.parametrize("kind", [Two, Convolved])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.25, 0.75), (0.2, 0.3, 0.5)])
@pytest.mark.parametrize("reference", [0, 1])
def test_units_enter_by_their_correlation_behind_the_activation(
    kind: type[nn.Module], shares: tuple[float, ...], reference: int
) -> None:
    networks, x = [member(kind, k) for k in range(len(shares))], inputs(kind)
    for name in ("correlation", "equal"):
        (hidden, head), own = targets_of(networks, x, name, shares, reference=reference)
        ours = own[reference][0]
        expected, some = ours.clone(), []
        for k, share in enumerate(shares):
            if k != reference:
                pairs = zip(torch.tanh(ours).T, torch.tanh(own[k][0]).T, strict=True)
                rho = torch.stack([torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in pairs])
                some.append(rho)
                weight = rho.clamp(min=0.0) if name == "correlation" else torch.ones(UNITS).double()
                expected += share * weight * (own[k][0] - ours)
        assert torch.cat(some).min() < -0.1
        assert torch.cat(some).max() > 0.1
        torch.testing.assert_close(hidden, expected)
        torch.testing.assert_close(
            head, sum(share * rows[1] for share, rows in zip(shares, own, strict=True))
        )


def loud(network: nn.Module, units: list[int], factor: float = 5.0) -> nn.Module:
    """A copy in which these units weigh more in the layer behind."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.head.weight[:, units] *= factor
    return other


@pytest.mark.parametrize("kind", [Two, Convolved])
def test_selection_keeps_the_unit_of_more_importance(kind: type[nn.Module]) -> None:
    network, x = member(kind), inputs(kind)
    other = loud(turned(network, list(range(UNITS)), 0.8), [1, 4])
    (hidden, _), own = targets_of([network, other], x, "selection", (0.5, 0.5), threshold=2.0)
    torch.testing.assert_close(hidden[:, [1, 4]], own[1][0][:, [1, 4]])
    torch.testing.assert_close(hidden[:, [0, 2, 3, 5]], own[0][0][:, [0, 2, 3, 5]])
    (mirrored, _), _ = targets_of([other, network], x, "selection", (0.5, 0.5), threshold=2.0)
    torch.testing.assert_close(mirrored, hidden)  # whoever comes first


def test_of_three_members_the_most_important_unit_is_kept() -> None:
    network, x = member(Two), inputs(Two)
    networks = [
        loud(network, [0], 8.0),
        loud(turned(network, [0, 1, 2, 3, 4, 5], 0.9), [1, 2], 8.0),
        loud(turned(network, [2], 1.1), [2, 3], 3.0),
    ]
    (hidden, _), own = targets_of(networks, x, "selection", (0.4, 0.3, 0.3), threshold=2.0)
    for unit, best in {0: 0, 1: 1, 2: 1, 3: 2}.items():
        torch.testing.assert_close(hidden[:, unit], own[best][0][:, unit])


def test_deviation_counts_in_the_importance_as_the_outgoing_weights_do() -> None:
    network, x = member(Two), inputs(Two)
    still = turned(network, [2], 1e-3)  # hardly varies behind the activation
    for networks, kept in (
        ([network, loud(still, [2], 4.0)], 0),
        ([loud(still, [2], 4.0), network], 1),
    ):
        (hidden, _), own = targets_of(networks, x, "selection", (0.5, 0.5), threshold=2.0)
        torch.testing.assert_close(hidden[:, 2], own[kept][0][:, 2])


def test_selection_averages_the_units_that_correlate_beyond_the_threshold() -> None:
    network, x = member(Two), inputs(Two)
    other = loud(
        turned(turned(network, [0, 1, 2], 0.7), [5]), [5]
    )  # unit 5 goes the other way, and matters
    (hidden, _), own = targets_of([network, other], x, "selection", (0.75, 0.25), threshold=0.9)
    mean = 0.75 * own[0][0] + 0.25 * own[1][0]
    torch.testing.assert_close(hidden[:, :5], mean[:, :5])
    torch.testing.assert_close(hidden[:, 5], own[1][0][:, 5])


def test_a_member_without_a_share_changes_nothing() -> None:
    network, x = member(Two), inputs(Two)
    goals, own = targets_of(
        [network, member(Two, 1), turned(network, [1])], x, "equal", (0.5, 0.0, 0.5)
    )
    for goal, first, third in zip(goals, own[0], own[2], strict=True):
        torch.testing.assert_close(goal, (first + third) / 2)


def of_units(kind: type[nn.Module]) -> str:
    (name,) = [group.name for group in structure(kind)[1].groups if group.size == UNITS]
    return name


ORDER = torch.tensor([3, 0, 5, 1, 2, 4])


@pytest.mark.parametrize("kind", [Two, Convolved])
@pytest.mark.parametrize("target", ["equal", "correlation", "selection"])
def test_members_are_brought_to_the_references_order_first(
    kind: type[nn.Module], target: str
) -> None:
    network, x = member(kind), inputs(kind)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for layer in (other.hidden.weight, other.hidden.bias):
            layer.copy_(layer[ORDER])
        other.head.weight.copy_(other.head.weight[:, ORDER])
    maps = {of_units(kind): (GroupMap.identity(UNITS), GroupMap("permutation", ORDER).inverted())}
    (hidden, head), own = targets_of([network, other], x, target, (0.5, 0.5), maps=maps)
    torch.testing.assert_close(hidden, own[0][0])
    torch.testing.assert_close(head, own[0][1])
    (unmapped, _), own = targets_of([network, other], x, "equal", (0.5, 0.5))
    torch.testing.assert_close(unmapped, (own[0][0] + own[1][0]) / 2)


@pytest.mark.parametrize("kind", [Two, Convolved])
def test_dense_maps_act_on_what_members_put_out(kind: type[nn.Module]) -> None:
    networks, x = [member(kind, k) for k in range(2)], inputs(kind)
    matrix = torch.randn(
        UNITS, UNITS, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    made = GroupMap("dense", matrix, torch.linalg.inv(matrix))
    maps = {of_units(kind): (GroupMap.identity(UNITS, "dense"), made)}
    (hidden, head), own = targets_of(networks, x, "equal", (0.5, 0.5), maps=maps)
    torch.testing.assert_close(hidden, (own[0][0] + own[1][0] @ matrix.T) / 2)
    torch.testing.assert_close(head, (own[0][1] + own[1][1]) / 2)


@pytest.mark.parametrize("kind", [Two, Convolved])
@pytest.mark.parametrize("shares", [(0.3, 0.7), (1.0, 0.0)])
def test_picked_units_are_aimed_at_as_their_own_members_have_them(
    kind: type[nn.Module], shares: tuple[float, float]
) -> None:
    networks, x = [member(kind, k) for k in range(2)], inputs(kind)
    picks = Picks(torch.tensor([0, 1, 1, 0, 0, 1]), torch.tensor([0, 4, 2, 3, 1, 5]))
    (hidden, head), own = targets_of(networks, x, "pruning", shares, picks={of_units(kind): picks})
    columns = [
        own[m][0][:, u] for m, u in zip(picks.member.tolist(), picks.unit.tolist(), strict=True)
    ]
    torch.testing.assert_close(hidden, torch.stack(columns, 1))
    torch.testing.assert_close(head, shares[0] * own[0][1] + shares[1] * own[1][1])


@pytest.mark.parametrize("kind", [Two, Convolved])
@pytest.mark.parametrize("reference", [0, 1])
def test_the_outputs_aim_at_the_pools_probabilities_and_nothing_else_does(
    kind: type[nn.Module], reference: int
) -> None:
    networks, x, shares = [member(kind, k) for k in range(3)], inputs(kind), (0.2, 0.3, 0.5)
    (hidden, head), own = targets_of(
        networks, x, "equal", shares, pool=mean_pool(shares), reference=reference
    )
    mixed = sum(share * rows[1].softmax(1) for share, rows in zip(shares, own, strict=True)).log()
    torch.testing.assert_close(head, mixed - mixed.mean(1, keepdim=True))
    torch.testing.assert_close(
        hidden, sum(share * rows[0] for share, rows in zip(shares, own, strict=True))
    )


class Dense(nn.Module):
    """Logits at every place of a series: classes on an axis that is not the last."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Conv1d(2, UNITS, 3), nn.Conv1d(UNITS, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x)))


class Behind(nn.Module):
    """What the last layer puts out is not what is returned."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, UNITS), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x))).square()


class Raw(nn.Module):
    """The units themselves are returned, as well as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, UNITS), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.tanh(self.hidden(x))
        return self.head(x), x.sum(1)


SHAPES |= {Dense: (100, 2, 7), Behind: (200, 4), Raw: (200, 4)}


@pytest.mark.parametrize(
    ("kind", "whole"), [(Dense, ["head"]), (Behind, []), (Two, ["head"]), (Raw, ["head"])]
)
def test_only_what_is_returned_class_by_class_is_mixed(
    kind: type[nn.Module], whole: list[str]
) -> None:
    traced, spec = structure(kind)
    sites, _ = find_sites(traced, spec, member(kind).state_dict())
    output = Output(class_axis=1) if kind is Dense else Output(0) if kind is Raw else ANY
    put = put_out(traced, member(kind).state_dict(), list(batches([inputs(kind)])), output)
    assert [
        site.layers[0].weight.removesuffix(".weight")
        for site in sites
        if is_put_out(put, spec, site)
    ] == whole
    if not whole:
        networks, shares = [member(kind, k) for k in range(2)], (0.25, 0.75)
        (_, head), own = targets_of(networks, inputs(kind), "equal", shares, pool=mean_pool(shares))
        torch.testing.assert_close(head, 0.25 * own[0][1] + 0.75 * own[1][1])


def test_the_search_for_a_ridge_stops_behind_the_first_minimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert RIDGES == (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)
    x, t, prior = rows_of(1)
    for errors, chosen in (
        ([9.0, 8.0, 7.0, 7.5, 1.0, 1.0, 1.0, 1.0, 1.0], 0.3),
        ([9.0, 9.5, 7.0, 6.0, 6.0, 1.0, 1.0, 1.0, 1.0], 0.1),
        ([2.0, 8.0, 7.0, 7.5, 1.0, 1.0, 1.0, 1.0, 1.0], float("inf")),
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 0.0001),
    ):
        sums, given = Ridge([prior], True), iter(errors)
        sums.add(x, t, 20)
        monkeypatch.setattr(sums, "_error", lambda *_, given=given: torch.tensor([next(given)]))
        assert sums.solve(None).ridge == chosen


def test_correlations_are_those_of_numpy_and_signed() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(80, 4, generator=generator)
    b = torch.stack(
        [
            a[:, 0],
            -3 * a[:, 1] + 5,
            a[:, 2] + torch.randn(80, generator=generator),
            torch.full((80,), 2.0),
        ],
        1,
    )
    expected = [
        float(torch.corrcoef(torch.stack([a[:, k], b[:, k]]).double())[0, 1]) for k in range(3)
    ]
    torch.testing.assert_close(
        correlations(a, b), torch.tensor([*expected, 0.0], dtype=torch.float64)
    )


def rows_of(groups: int, seed: int = 0) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Inputs away from zero, targets that depend on them, and a prior."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(groups, 120, 4, generator=generator, dtype=torch.float64) + 3.0
    true = torch.randn(groups, 4, 3, generator=generator, dtype=torch.float64)
    t = x @ true + 0.5 * torch.randn(groups, 120, 3, generator=generator, dtype=torch.float64) - 1.0
    return (
        x,
        t,
        (
            true + 0.3 * torch.randn(groups, 4, 3, generator=generator).double(),
            torch.ones(groups, 3, dtype=torch.float64),
        ),
    )


def by_hand(
    x: Tensor, t: Tensor, prior: tuple[Tensor, Tensor], ridge: float, intercept: bool
) -> tuple[Tensor, Tensor]:
    """Matrix and constant of one group."""
    matrix, constant = prior
    y = t - x @ matrix - constant
    mean_x, mean_y = (
        (x.mean(0), y.mean(0)) if intercept else (torch.zeros(4).double(), torch.zeros(3).double())
    )
    gram = (x - mean_x).T @ (x - mean_x) / len(x)
    change = torch.linalg.solve(
        gram + ridge * gram.diagonal().mean() * torch.eye(4), (x - mean_x).T @ (y - mean_y) / len(x)
    )
    return matrix + change, constant + mean_y - mean_x @ change


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("held", [0, 20, 120])
def test_ridge_regression_is_its_definition_in_every_group(
    intercept: bool, groups: int, held: int
) -> None:
    x, t, prior = rows_of(groups)
    sums = Ridge([prior], intercept)
    if held == 120:
        sums.add(x, t, 120)
    else:
        sums.add(x[:, :50], t[:, :50], 0)
        sums.add(x[:, 50:], t[:, 50:], held)
    found = sums.solve(0.5)
    for group in range(groups):
        matrix, constant = by_hand(
            x[group], t[group], (prior[0][group], prior[1][group]), 0.5, intercept
        )
        torch.testing.assert_close(found.matrix[group], matrix)
        torch.testing.assert_close(found.constant[group], constant)
    torch.testing.assert_close(found.mean, x.mean(1))
    centred = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(found.covariance, centred.transpose(1, 2) @ centred / 120)
    assert (found.ridge, found.prior) == (0.5, 0)


@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_and_prior_are_those_of_least_error_on_the_rows_held_out(intercept: bool) -> None:
    x, t, prior = rows_of(2, 1)
    other = (prior[0] + 2.0, prior[1])
    sums = Ridge([other, prior], intercept)
    sums.add(x[:, :30], t[:, :30], 10)
    sums.add(x[:, 30:], t[:, 30:], 30)
    found = sums.solve(None)
    fitted = torch.cat([x[:, :20], x[:, 30:90]], 1), torch.cat([t[:, :20], t[:, 30:90]], 1)
    held = torch.cat([x[:, 20:30], x[:, 90:]], 1), torch.cat([t[:, 20:30], t[:, 90:]], 1)
    errors = {}
    for ridge in RIDGES:
        for number, one in enumerate((other, prior)):
            solved = [
                by_hand(fitted[0][g], fitted[1][g], (one[0][g], one[1][g]), ridge, intercept)
                for g in range(2)
            ]
            errors[ridge, number] = sum(
                float((held[1][g] - held[0][g] @ matrix - constant).square().sum())
                for g, (matrix, constant) in enumerate(solved)
            )
    best = min(errors, key=errors.__getitem__)
    assert (found.ridge, found.prior) == best
    mean = held[1].mean(1, keepdim=True)
    assert found.r2 == pytest.approx(1 - errors[best] / float((held[1] - mean).square().sum()))


def test_where_nothing_is_to_be_gained_the_prior_stays_but_for_its_constant() -> None:
    x, _, prior = rows_of(1)
    rest = 0.1 * (x[:, :, :3] - 3.0)
    rest[:, 60:] *= -1  # what the fitted rows tell misleads on those held out
    sums = Ridge([prior], True)
    sums.add(x, x @ prior[0] + prior[1] + rest + 7.0, 60)
    found = sums.solve(None)
    assert found.ridge == float("inf")
    torch.testing.assert_close(found.matrix, prior[0])
    torch.testing.assert_close(found.constant, prior[1] + (rest + 7.0).mean(1))


def test_inputs_that_never_vary_leave_the_prior() -> None:
    x, t, prior = rows_of(1)
    still = torch.full_like(x, 2.0)
    sums = Ridge([prior], True)
    sums.add(still, t, 0)
    found = sums.solve(0.1)
    torch.testing.assert_close(found.matrix, prior[0])
    torch.testing.assert_close((still @ found.matrix + found.constant[:, None]).mean(1), t.mean(1))
    assert found.r2 != found.r2  # nothing was held out
