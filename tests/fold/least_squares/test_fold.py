"""Least-squares folding: exact where it must be, on every kind of layer; negative controls;
repeatable; one sentence for bad input.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from corner_networks import Counted, Tiled, off
from least_squares_networks import (
    Attention,
    Convolutional,
    Mlp,
    Projected,
    Recurrent,
    batches_of,
    difference,
    inputs_of,
    known_alignment,
    network,
    permuted,
)
from small_networks import Plain, Residual, loader, members, trained
from torch import Tensor, nn

import onefold
from onefold.batches import batches
from onefold.errors import DataError, OnefoldError, SettingError, TraceError
from onefold.fold import LeastSquares, merge
from onefold.fold.least_squares import plan
from onefold.fold.least_squares.layers import find_sites
from onefold.fold.least_squares.targets import TARGETS
from onefold.symmetry import solve, trace


@pytest.mark.parametrize("kind", [Tiled, Counted])
def test_least_squares_solves_over_inputs_of_several_sizes(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    data = [torch.randn(32, 4, 5), torch.randn(32, 6, 5), torch.randn(32, 4, 5)]
    merged = onefold.merge(
        [model, copy.deepcopy(model)],
        data,
        align="none",
        fold=LeastSquares("correlation"),
        repair="none",
    )
    assert off(model, merged.model, data[1]) < 1e-4
    assert F.mse_loss(merged.model(data[0]), model(data[0])) < 1e-8


TEST = loader(512, seed=99, batch=128)

KINDS = [
    (Mlp, "selection"),
    (Convolutional, "correlation"),
    (Projected, "selection"),
    (Attention, "correlation"),
    (Recurrent, "equal"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "target"), KINDS)
def test_all_weight_on_the_reference_gives_the_reference(
    kind: type[nn.Module], target: str
) -> None:
    models = [network(kind, 0), network(kind, 1)]
    result = merge(
        models,
        batches_of(kind),
        align="permutation",
        fold=LeastSquares(target=target, threshold=-1.0),
        weights=[1, 0],
    )
    assert difference(result.model, models[0], inputs_of(kind, 64, 9)) < 1e-8
    if kind is Convolutional:  # the control: another target gives another network
        other = merge(
            models, batches_of(kind), align=result.alignment, fold=LeastSquares(target="equal")
        ).model
        assert difference(other, models[0], inputs_of(kind, 64, 9)) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "target"), KINDS)
def test_permuted_copies_fold_to_the_function_that_they_share(
    kind: type[nn.Module], target: str
) -> None:
    data, model = batches_of(kind), network(kind, 0)
    twin, spec, back = permuted(model, data, 3)
    x = inputs_of(kind, 64, 9)
    assert difference(twin, model, x) < 1e-10
    result = merge(
        [model, twin],
        data,
        align=known_alignment(spec, back, data, [model, twin]),
        fold=LeastSquares(target=target),
        seed=4,
    )
    assert difference(result.model, model, x) < 1e-8
    if kind is Projected:  # the control: without the maps it is another function
        unaligned = merge(
            [model, twin], data, align="none", fold=LeastSquares(target="equal")
        ).model
        assert difference(unaligned, model, x) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Mlp, Convolutional, Projected, Attention])
def test_a_layer_that_was_spoilt_is_found_again_from_the_target(kind: type[nn.Module]) -> None:
    """The prior plays no part where rows are plenty and exact: the members agree on the function,
    and the folded network starts elsewhere.
    """
    from onefold.fold.least_squares.outputs import Calibration, SiteOutputs
    from onefold.fold.least_squares.solve import solve_sites
    from onefold.fold.least_squares.targets import site_targets

    data, model = batches_of(kind, 512), network(kind, 0)
    traced = trace(model, (data[0],))
    spec = solve(traced)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    sites, kept = find_sites(traced, spec, state)
    assert not kept

    calibration = Calibration(list(batches(data)), 4096, 0)
    outputs = SiteOutputs(traced, [state], sites, calibration)
    goals, samples = (
        site_targets(outputs, spec, [state], None, (1.0,), 0, "equal", 0.0, {}),
        outputs.samples,
    )
    for site in sites:
        for layer in site.layers:
            state[layer.weight].normal_()
    spoilt = {k: v.clone() for k, v in state.items()}
    solve_sites(traced, state, {"spoilt": spoilt}, sites, calibration, goals, samples, 1e-12)
    found = copy.deepcopy(model)
    found.load_state_dict(state)
    x = inputs_of(kind, 64, 9)
    assert difference(found, model, x) < 1e-3
    found.load_state_dict(spoilt)
    assert difference(found, model, x) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Plain, Residual])
@pytest.mark.parametrize("method", ["permutation", "cca"])
def test_least_squares_beats_the_repaired_average(kind: type[nn.Module], method: str) -> None:
    networks, data = members(kind, 3), loader(512)
    folded = merge(networks, data, align=method, fold="least_squares")
    average = merge(networks, data, align=method, fold="average")
    accuracy = [onefold.evaluate(m, TEST).accuracy for m in (folded.model, average.model)]
    assert accuracy[0] > 0.9
    assert accuracy[0] >= accuracy[1]
    assert folded.report.repair == "none"
    assert folded.report.folded["averaged"] == {}


@pytest.mark.slow
def test_inputs_stay_as_they_are_and_the_same_seed_gives_the_same_bits() -> None:
    networks = members(Residual, 2)
    before = [copy.deepcopy(n.state_dict()) for n in networks]
    first, second, third = (
        merge(networks, loader(), align="permutation", fold=LeastSquares(rows=500), seed=s).model
        for s in (1, 1, 2)
    )
    assert all(
        torch.equal(v, n.state_dict()[k])
        for n, s in zip(networks, before, strict=True)
        for k, v in s.items()
    )
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())
    assert not all(torch.equal(v, third.state_dict()[k]) for k, v in first.state_dict().items())
    assert type(first) is Residual


@pytest.mark.slow
def test_norms_of_the_result_can_be_estimated_again() -> None:
    networks, data = members(Residual, 2), loader(1024, batch=256)
    folded = merge(networks, data, align="permutation", fold="least_squares").model
    before = onefold.evaluate(folded, TEST)
    after = onefold.evaluate(onefold.recalibrate(folded, data), TEST)
    assert abs(before.nll - after.nll) < 0.1
    assert abs(before.accuracy - after.accuracy) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_other_precisions(dtype: torch.dtype) -> None:
    networks = [n.to(dtype) for n in members(Residual, 2)]
    data = [(x.to(dtype), y) for x, y in loader(512)]
    folded = merge(networks, data, align="permutation", fold="least_squares").model
    assert {p.dtype for p in folded.parameters()} == {dtype}
    assert onefold.evaluate(folded, [(x.to(dtype), y) for x, y in TEST]).accuracy > 0.85


def test_residual_sums_are_solved_together_or_less_the_identity() -> None:
    model = network(Projected, 0)
    traced = trace(model, (inputs_of(Projected, 4),))
    sites, _ = find_sites(traced, solve(traced), model.state_dict())
    names = [site.name for site in sites]
    assert names == [
        "stem.weight",
        "conv1.weight",
        "conv2.weight + shortcut.weight",
        "branch.weight",
        "other.weight",
        "head.weight",
    ]
    assert [site.minus is not None for site in sites] == [False, False, False, True, True, False]
    assert sites[0].activation is not None


def test_what_is_not_solved_is_named() -> None:
    models = [network(Recurrent, 0), network(Recurrent, 1)]
    report = merge(models, batches_of(Recurrent), align="permutation", fold="least_squares").report
    assert {one["weights"] for one in report.folded["layers"]} == {
        "lift.weight",
        "lstm.weight_ih_l0 + lstm.weight_hh_l0",
        "head.weight",
    }
    assert set(report.folded["averaged"]) == {"embed.weight"}
    facts = report.folded["layers"][0]
    assert facts["rows"] == 256 * 9
    assert 0 < facts["explained"] <= 1


def test_memory_bounds_the_examples_and_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = members(Plain, 2)
    monkeypatch.setattr(plan, "LIVE", 1_500_000)
    monkeypatch.setattr(plan, "ROWS", 200_000)
    report = merge(networks, loader(512), align="permutation", fold="least_squares").report
    assert report.folded["examples"] < 512
    assert max(one["rows"] for one in report.folded["layers"]) < 2000
    assert any("rows of each layer" in w for w in report.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_features_far_from_zero_fold_as_others_do(target: str) -> None:
    """Members whose hidden units lie around 1000 and vary by one, as large biases and inputs
    without standardisation make them.
    """
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4)
        ).eval()
        with torch.no_grad():
            model[0].bias += 1000.0  # type: ignore[operator]
            model[2].bias -= 1000.0 * model[2].weight.sum(1)  # type: ignore[operator]
        models.append(model)
    data = list(torch.randn(2000, 10, generator=torch.Generator().manual_seed(2)).split(100))
    folded = merge(models, data, align="permutation", fold=LeastSquares(target=target)).model
    x = torch.randn(500, 10, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = torch.stack([model(x) for model in models]).mean(0)
        error = (folded(x) - wanted).square().mean() / wanted.var(0).mean()
    assert error < 0.02


class Frozen(nn.Module):
    """Nothing in it is a layer that can be solved: its one weight is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(F.relu(self.layer(x)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fold": "least_square"}, SettingError, "did you mean 'least_squares'"),
        ({"data": None}, SettingError, "need calibration data"),
        ({"data": None, "align": "none", "repair": "none"}, SettingError, "need calibration data"),
        (
            {"data": [loader()[0][0][:1]]},
            DataError,
            "calibration data gave only 1 samples|at least 2 calibration examples",
        ),
        ({"polish": -1}, SettingError, "polish is -1"),
    ],
)
def test_unusable_arguments(
    arguments: dict[str, object], error: type[OnefoldError], message: str
) -> None:
    with pytest.raises(error, match=message):
        merge(
            members(Plain, 2),
            **{"data": loader(), "align": "permutation", "fold": "least_squares", **arguments},
        )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "mean"}, "no target 'mean' of least squares"),
        ({"target": "prunning"}, "did you mean 'pruning'"),
        ({"rows": 0}, "asked for 0 rows"),
        ({"ridge": 0.0}, "ridge of least squares is 0.0"),
        ({"ridge": float("nan")}, "ridge of least squares is nan"),
        ({"ensemble": "probability"}, "probabilities"),
    ],
)
def test_unusable_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        LeastSquares(**settings)  # type: ignore[arg-type]


def test_networks_without_a_layer_to_solve_and_broken_data() -> None:
    with pytest.raises(TraceError, match="No layer of the network can be solved"):
        merge([Frozen(), Frozen()], [torch.randn(8, 4)] * 8, align="none", fold="least_squares")
    broken = loader()
    broken[1][0][3, 0, 2, 2] = float("inf")
    with pytest.raises(DataError, match=r"non-finite|not finite"):
        merge([trained(Plain, 0), trained(Plain, 1)], broken, align="none", fold="least_squares")


@pytest.mark.parametrize("size", [1e20, 1e30, 1e37])
@pytest.mark.parametrize("layer", ["first", "last"])
@pytest.mark.parametrize("target", ["pruning", "correlation"])
def test_weights_out_of_all_proportion_are_refused_or_folded(
    size: float, layer: str, target: str
) -> None:
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).eval() for _ in range(2)]
    spoilt: nn.Linear = models[1][0 if layer == "first" else 2]  # type: ignore[assignment]
    with torch.no_grad():
        spoilt.weight.mul_(size)
    data = [torch.randn(32, 5) for _ in range(3)]
    try:
        merged = onefold.merge(models, data, align="none", fold=LeastSquares(target)).model
    except DataError:
        return
    assert all(tensor.isfinite().all() for tensor in merged.state_dict().values())
