"""Recurrent layers by least squares: gates as torch computes them; exact where they must be;
negative controls; what cannot be solved is named.
"""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from least_squares_networks import difference, known_alignment, permuted
from torch import Tensor, nn

from onefold.alignment import Alignment
from onefold.batches import batches
from onefold.fold import LeastSquares, merge
from onefold.fold.least_squares import recurrent
from onefold.fold.least_squares.layers import find_sites
from onefold.fold.least_squares.outputs import Calibration, SiteOutputs
from onefold.fold.least_squares.recurrent import find_recurrent, gates_of
from onefold.fold.least_squares.recurrent_targets import recurrent_targets
from onefold.fold.least_squares.solve import solve_sites
from onefold.fold.least_squares.targets import site_targets
from onefold.symmetry import solve, trace

SETTINGS = [
    (nn.LSTM, {}),
    (nn.LSTM, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    (nn.GRU, {"num_layers": 2, "batch_first": True}),
    (nn.GRU, {"bidirectional": True, "bias": False}),
    (nn.RNN, {"num_layers": 2, "nonlinearity": "relu"}),
    (nn.RNN, {"bidirectional": True}),
]


class Sequences(nn.Module):
    """A recurrent net between two linear layers; time comes first unless the net says otherwise."""

    def __init__(self, kind: type[nn.RNNBase], settings: dict[str, object]) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.net = kind(4, 5, **settings)
        self.head = nn.Linear(10 if settings.get("bidirectional") else 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        out = self.net(y if self.net.batch_first else y.transpose(0, 1))[0]
        return self.head(out.mean(1 if self.net.batch_first else 0))


def made(kind: type[nn.RNNBase], settings: dict[str, object], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = Sequences(kind, settings).double().eval()
    with torch.no_grad():
        for p in model.net.parameters():
            p.mul_(2.0)
    return model


def examples(count: int, seed: int = 0) -> list[Tensor]:
    x = torch.randn(count, 7, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return list(x.split(64))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_cells_compute_what_the_operator_does(
    kind: type[nn.RNNBase], settings: dict[str, object]
) -> None:
    model, x = made(kind, settings, 0), examples(6)[0]
    traced = trace(model, (x,))
    (site,) = find_recurrent(traced, solve(traced))
    state = dict(model.state_dict())
    with torch.no_grad():
        y = model.first(x)
        wanted = model.net(y if model.net.batch_first else y.transpose(0, 1))[0]
        wanted = wanted if model.net.batch_first else wanted.transpose(0, 1)
        runs = list(site.run(y, state))
        found = torch.cat([h for _, _, h in runs][-len(site.layers[-1]) :], 2)
        torch.testing.assert_close(found, wanted)
        cell, seen, h = runs[0]
        own, kept = (
            part.tensor_split(4 if kind is nn.LSTM else 3 if kind is nn.GRU else 1, -1)
            for part in gates_of(cell, seen, cell.before(h), state)
        )
        if kind is nn.RNN:
            again = (
                (own[0] + kept[0]).relu() if cell.kind == "rnn_relu" else (own[0] + kept[0]).tanh()
            )
            torch.testing.assert_close(again, h)
        if kind is nn.GRU:
            r, z = ((own[k] + kept[k]).sigmoid() for k in range(2))
            torch.testing.assert_close(
                (1 - z) * (own[2] + r * kept[2]).tanh() + z * cell.before(h), h
            )


@functools.cache
def pair(number: int) -> tuple[nn.Module, nn.Module, Alignment]:
    """A network, a permuted copy, and the alignment of the two."""
    data, model = examples(256), made(*SETTINGS[number], 0)
    twin, spec, back = permuted(model, data, 3)
    return model, twin, known_alignment(spec, back, data, [model, twin])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(SETTINGS)))
@pytest.mark.parametrize("target", ["correlation", "pruning"])
def test_permuted_copies_fold_to_the_function_that_they_share(number: int, target: str) -> None:
    data, (model, twin, alignment) = examples(256), pair(number)
    x = examples(64, 9)[0]
    assert difference(twin, model, x) < 1e-10
    result = merge(
        [model, twin], data, align=alignment, fold=LeastSquares(target=target, ridge=1e-10)
    )
    assert difference(result.model, model, x) < (1e-7 if target == "correlation" else 5e-2)
    assert any("net.weight_ih_l0" in layer["weights"] for layer in result.report.folded["layers"])
    if target == "correlation":  # the control: without the maps it is another function
        assert (
            difference(
                merge([model, twin], data, align="none", fold=LeastSquares(target="equal")).model,
                model,
                x,
            )
            > 1e-2
        )


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_a_layer_that_was_spoilt_is_found_again_from_the_target(
    kind: type[nn.RNNBase], settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, model = examples(512), made(kind, settings, 0)
    traced = trace(model, (data[0],))
    spec = solve(traced)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    sites, _ = find_sites(traced, spec, state)
    calibration = Calibration(list(batches(data)), 1024, 0)
    outputs = SiteOutputs(traced, [state], sites, calibration)
    goals, samples = (
        site_targets(outputs, spec, [state], None, (1.0,), 0, "equal", 0.0, {}),
        outputs.samples,
    )
    nets = find_recurrent(traced, spec)
    gates, steps = recurrent_targets(
        traced, spec, [state], None, nets, calibration, (1.0,), 0, "equal", {}
    )
    x = examples(64, 9)[0]
    found = copy.deepcopy(model)
    for rounds in (1, recurrent.ROUNDS):
        monkeypatch.setattr(recurrent, "ROUNDS", rounds)
        for name in nets[0].tensors:
            state[name].normal_()
        spoilt = {k: v.clone() for k, v in state.items()}
        solve_sites(
            traced,
            state,
            {"spoilt": spoilt},
            sites,
            calibration,
            goals,
            samples,
            1e-12,
            list(zip(nets, gates, steps, strict=True)),
        )
        found.load_state_dict(state)
        assert difference(found, model, x) < 1e-3
    found.load_state_dict(spoilt)
    assert difference(found, model, x) > 0.1


def test_members_of_a_single_layer_are_picked_unit_by_unit() -> None:
    models, data = [made(nn.LSTM, {}, seed) for seed in range(2)], examples(256)
    folded = merge(models, data, align="permutation", fold="least_squares").report.folded
    assert [2, 3] in [sorted(counts) for counts in folded["units"].values()] or [1, 4] in [
        sorted(counts) for counts in folded["units"].values()
    ]
    assert folded["averaged"] == {}


class Projection(nn.Module):
    """What is not solved: an LSTM with a projection, and one that starts from its own state."""

    def __init__(self, projected: bool) -> None:
        super().__init__()
        self.net = nn.LSTM(3, 5, proj_size=4 if projected else 0)
        self.start = nn.Parameter(torch.randn(1, 1, 5))
        self.projected = projected
        self.head = nn.Linear(4 if projected else 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(0, 1)
        h = self.start.expand(1, x.shape[0], 5).contiguous()
        return self.head(self.net(y, None if self.projected else (h, h))[0][-1])


@pytest.mark.slow
@pytest.mark.parametrize("projected", [True, False])
def test_what_cannot_be_solved_is_named_and_averaged(projected: bool) -> None:
    torch.manual_seed(0)
    models = [Projection(projected).double().eval() for _ in range(2)]
    report = merge(models, examples(256), align="permutation", fold="least_squares").report.folded
    assert {one["weights"] for one in report["layers"]} == {"head.weight"}
    assert {"net.weight_ih_l0", "net.weight_hh_l0"} <= set(report["averaged"])
