"""Points of a subspace as plain networks, ensembles of them, growing, curves between networks, and
the state that makes a run go on.
"""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import Plain, Residual, loader, trained
from soft_networks import (
    Attention,
    Recurrent,
    Tied,
    VisionTransformer,
    bits,
    inputs_for,
    random_network,
    same_bits,
)
from torch import Tensor, nn

import onefold
from onefold.errors import OnefoldError, SettingError, SubspaceError
from onefold.explore.subspace.shapes import Shape

DATA = loader(64)


def initialise(network: nn.Module) -> None:
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.2)


def steps(
    space: onefold.Subspace, optimiser: torch.optim.Optimizer, count: int, skip: int = 0
) -> None:
    for x, y in (DATA * 10)[skip : skip + count]:
        optimiser.zero_grad()
        (F.cross_entropy(space(x), y) + space.diversity_penalty()).backward()
        optimiser.step()


def sgd(space: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(space.parameters(), 0.05, momentum=0.9)


# ---- shapes


@given(
    name=st.sampled_from(["line", "curve", "simplex"]),
    more=st.integers(0, 4),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_drawn_points_lie_in_the_shape(name: str, more: int, seed: int) -> None:
    shape = Shape.of(name, None if name == "line" else 3 + more)
    for point in shape.draw(np.random.default_rng(seed), 5):
        assert shape.point(point) == point
        assert sum(point) == pytest.approx(1, abs=1e-12)
    assert len(set(shape.pair(np.random.default_rng(seed)))) == 2


def test_draws_are_uniform_over_the_simplex_and_the_line() -> None:
    drawn = torch.tensor(Shape.of("simplex", 3).draw(np.random.default_rng(0), 20000))
    assert torch.allclose(drawn.mean(0), torch.full((3,), 1 / 3, dtype=drawn.dtype), atol=0.01)
    assert torch.allclose(
        drawn.var(0), torch.full((3,), 1 / 18, dtype=drawn.dtype), atol=0.003
    )  # of Dirichlet(1, 1, 1)
    line = torch.tensor(Shape.of("line", None).draw(np.random.default_rng(0), 20000))[:, 1]
    assert abs(line.mean() - 0.5) < 0.01
    assert abs(line.var() - 1 / 12) < 0.003


def test_a_curve_of_three_is_the_quadratic_bezier() -> None:
    a = 0.3
    assert Shape.of("curve", None).point(a) == pytest.approx(((1 - a) ** 2, 2 * a * (1 - a), a**2))


# ---- points


@pytest.mark.parametrize("kind", [Plain, Residual, VisionTransformer, Recurrent, Attention, Tied])
def test_points_are_plain_networks_of_the_models_class(kind: type[nn.Module]) -> None:
    model = random_network(kind, 0) if kind not in (Plain, Residual) else kind()
    before = copy.deepcopy(bits(model))
    space = onefold.Subspace(model, "simplex", init=initialise)
    x = DATA[0][0] if kind in (Plain, Residual) else inputs_for(kind)
    space.train()(x)
    weights = (0.2, 0.5, 0.3)
    point = space.at(weights, [x])
    assert type(point) is kind
    assert list(point.state_dict()) == list(model.state_dict())
    assert not point.training
    assert all(p.requires_grad for p in point.parameters())
    for name, value in point.named_parameters():
        mixed = sum(w * v.get_parameter(name) for w, v in zip(weights, space.vertices, strict=True))
        assert isinstance(mixed, Tensor)
        assert torch.allclose(value, mixed, atol=1e-6)
    point.load_state_dict(model.state_dict())
    assert torch.equal(
        point.eval()(x), copy.deepcopy(model).eval()(x)
    )  # shared tensors are shared again
    assert same_bits(bits(model), before)
    assert len(list(point.parameters())) == len(list(model.parameters()))


def test_the_first_vertex_is_the_model_and_the_others_start_on_their_own() -> None:
    model = Plain()
    space = onefold.Subspace(model, "simplex", seed=3)
    assert torch.equal(space.vertex(0)(DATA[0][0]), model.eval()(DATA[0][0]))
    flat = [torch.cat([p.flatten() for p in v.parameters() if p.dim() > 1]) for v in space.vertices]
    assert all(
        abs(F.cosine_similarity(flat[i], flat[j], 0)) < 0.2 for i, j in ((0, 1), (0, 2), (1, 2))
    )
    again = onefold.Subspace(model, "simplex", seed=3)
    assert same_bits(bits(space.vertex(2)), bits(again.vertex(2)))
    other = onefold.Subspace(model, "simplex", seed=4)
    assert not same_bits(bits(space.vertex(2)), bits(other.vertex(2)))


def test_the_generator_of_the_process_is_left_alone() -> None:
    model = Plain()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    space = onefold.Subspace(model, "simplex").train()
    space(DATA[0][0])
    space.ensemble(2)
    assert torch.equal(torch.rand(3), expected)


def test_statistics_are_computed_for_every_point_and_those_of_training_stay() -> None:
    space = onefold.Subspace(Residual(), "line").train()
    steps(space, sgd(space), 4)
    before = {k: v.clone() for k, v in space.state_dict().items()}
    first, second = space.at(0.1, DATA), space.at(0.9, DATA)
    norms = [name for name in first.state_dict() if name.endswith("running_mean")]
    assert norms
    assert not torch.allclose(first.state_dict()[norms[0]], second.state_dict()[norms[0]])
    again = copy.deepcopy(first)
    onefold.recalibrate(again, DATA)
    assert torch.allclose(again(DATA[0][0]), first(DATA[0][0]), atol=1e-5)
    assert all(torch.equal(v, before[k]) for k, v in space.state_dict().items())
    assert space.training


def test_ensembles_average_what_they_say() -> None:
    space = onefold.Subspace(Plain(), "line")
    x, y = DATA[0]
    members = [space.at(0.2), space.at(0.8)]
    logits = torch.stack([m(x) for m in members])
    assert torch.allclose(space.ensemble(2, ensemble="logits")(x), logits.mean(0), atol=1e-6)
    assert torch.allclose(space.ensemble(2)(x).exp(), logits.softmax(-1).mean(0), atol=1e-6)
    assert onefold.evaluate(space.ensemble(2), [(x, y)]).nll == pytest.approx(
        onefold.evaluate(members, [(x, y)]).nll, abs=1e-6
    )
    simplex = onefold.Subspace(Plain(), "simplex")
    assert torch.equal(simplex.ensemble(3, seed=1)(x), simplex.ensemble(3, seed=1)(x))
    assert not torch.equal(simplex.ensemble(3, seed=1)(x), simplex.ensemble(3, seed=2)(x))


def test_evaluation_mode_runs_at_the_midpoint() -> None:
    space = onefold.Subspace(Plain(), "simplex").train()
    steps(space, sgd(space), 2)
    x = DATA[0][0]
    assert torch.allclose(space.eval()(x), space.midpoint()(x), atol=1e-6)
    steps(space.train(), sgd(space), 1)
    assert torch.allclose(space.eval()(x), space.midpoint()(x), atol=1e-6)


# ---- drawing


def test_a_step_draws_once_and_the_next_one_anew() -> None:
    space = onefold.Subspace(Plain(), "line").train()
    x, y = DATA[0]
    space(x)
    first = space.coefficients
    space.diversity_penalty()
    loss = F.cross_entropy(space(x), y)
    assert torch.equal(space.coefficients, first)
    loss.backward()  # type: ignore[no-untyped-call]
    space(x)
    assert not torch.equal(space.coefficients, first)


def test_whoever_samples_owns_the_draws() -> None:
    space = onefold.Subspace(Plain(), "line").train()
    optimiser = sgd(space)
    space.sample()
    first = space.coefficients
    steps(space, optimiser, 3)
    assert torch.equal(space.coefficients, first)
    space.sample()
    assert not torch.equal(space.coefficients, first)


def test_layerwise_draws_differ_by_module_and_are_shared_within() -> None:
    space = onefold.Subspace(Plain(), "line", layerwise=True).train()
    space.sample()
    table = space.coefficients
    assert table.shape == (len({p.module for p in space.varied}), 2)
    assert len(set(table[:, 0].tolist())) == len(table)
    assert torch.allclose(table.sum(1), torch.ones(len(table), dtype=table.dtype))


def test_patterns_leave_the_rest_shared() -> None:
    model = Plain()
    names = [
        n
        for n, _ in model.named_modules()
        if n and any(True for _ in model.get_submodule(n).parameters(recurse=False))
    ]
    space = onefold.Subspace(model, "simplex", include=[names[0]]).train()
    assert {p.module for p in space.varied} == {names[0]}
    steps(space, sgd(space), 2)
    a, b = space.vertex(0), space.vertex(1)
    for name, value in a.named_parameters():
        assert torch.equal(value, b.get_parameter(name)) == (
            not name.startswith(names[0] + ".") or value.dim() == 0
        ), name
    rest = onefold.Subspace(model, "simplex", exclude=names[0])  # one pattern needs no list
    assert names[0] not in {p.module for p in rest.varied}
    assert {p.name for p in rest.varied} | {p.name for p in space.varied} == {
        n for n, _ in model.named_parameters()
    }


def test_frozen_parameters_stay_shared() -> None:
    model = Plain()
    frozen = next(iter(model.parameters()))
    frozen.requires_grad_(False)
    space = onefold.Subspace(model, "line")
    assert len(space.varied) == len(list(model.parameters())) - 1


# ---- state


@pytest.mark.parametrize("draws", ["shared", "per rank"])
def test_a_state_dict_makes_a_run_go_on_to_the_same_bits(draws: str) -> None:
    def new() -> tuple[onefold.Subspace, torch.optim.SGD]:
        torch.manual_seed(0)
        space = onefold.Subspace(Residual(), "simplex", layerwise=True, draws=draws).train()
        return space, sgd(space)

    whole, optimiser = new()
    steps(whole, optimiser, 6)
    half, optimiser = new()
    steps(half, optimiser, 3)
    file = io.BytesIO()
    torch.save({"space": half.state_dict(), "optimiser": optimiser.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    rest, optimiser = new()
    rest.load_state_dict(state["space"])
    optimiser.load_state_dict(state["optimiser"])
    steps(rest, optimiser, 3, skip=3)
    assert all(torch.equal(v, rest.state_dict()[k]) for k, v in whole.state_dict().items())
    without, optimiser = new()
    without.load_state_dict(
        {k: v for k, v in state["space"].items() if "extra" not in k}, strict=False
    )
    assert without.drawn != rest.drawn  # what the extra state is for


def test_a_state_dict_can_be_written_without_pickles(tmp_path: object) -> None:
    space = onefold.Subspace(Plain(), "line").train()
    steps(space, sgd(space), 2)
    path = f"{tmp_path}/space.safetensors"
    onefold.save(space.state_dict(), path)
    other = onefold.Subspace(Plain(), "line", seed=9)
    other.load_state_dict(onefold.load(path))
    assert (other.seed, other.drawn) == (space.seed, space.drawn)
    assert torch.equal(other.midpoint()(DATA[0][0]), space.midpoint()(DATA[0][0]))


def test_loaded_and_converted_weights_reach_the_network() -> None:
    space, other = (
        onefold.Subspace(Plain(), "line", seed=1),
        onefold.Subspace(Plain(), "line", seed=2),
    )
    x = DATA[0][0]
    space.train()(x)
    space.load_state_dict(other.state_dict(), assign=True)
    assert torch.equal(space.eval()(x), other.eval()(x))
    assert space.double()(x.double()).dtype == torch.float64
    assert torch.allclose(space(x.double()).float(), other(x), atol=1e-5)


def test_copies_and_averages_of_the_whole_subspace() -> None:
    space = onefold.Subspace(Residual(), "line").train()
    averaged = torch.optim.swa_utils.AveragedModel(space)
    optimiser = sgd(space)
    x, y = DATA[0]
    F.cross_entropy(space(x), y).backward()
    copied = copy.deepcopy(space)  # in the middle of a step
    optimiser.step()
    averaged.update_parameters(space)
    assert not same_bits(dict(copied.named_parameters()), dict(space.named_parameters()))
    assert same_bits(dict(averaged.module.named_parameters()), dict(space.named_parameters()))
    assert copied.train()(x).requires_grad


class Introspective(nn.Module):
    """Asks its own parameters where it is, as many networks do; its last layer starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.last = nn.Linear(64, 8), nn.Linear(8, 4)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        first = next(self.parameters())
        return self.last(torch.tanh(self.linear(x.flatten(1).to(first.device, first.dtype))))


def test_networks_that_ask_for_their_parameters_are_answered() -> None:
    model = Introspective()
    space = onefold.Subspace(
        model, "line", init=lambda fresh: fresh.load_state_dict(Introspective().state_dict())
    ).train()
    F.cross_entropy(space(DATA[0][0]), DATA[0][1]).backward()
    assert len(list(space.parameters())) == 8
    assert space.double().eval()(DATA[0][0]).dtype == torch.float64
    point = space.midpoint()
    assert "parameters" not in vars(point)
    assert [name for name, _ in point.named_parameters()] == [
        name for name, _ in model.named_parameters()
    ]


def test_a_subspace_goes_through_a_pickle() -> None:
    space = onefold.Subspace(Residual(), "line").train()
    steps(space, sgd(space), 2)
    file = io.BytesIO()
    torch.save(space, file)
    file.seek(0)
    read = torch.load(file, weights_only=False)
    assert same_bits(bits(read), bits(space))
    steps(space, sgd(space), 2)
    steps(read, sgd(read), 2)
    assert same_bits(bits(read), bits(space))


# ---- between and grow


def test_a_curve_between_two_networks_keeps_its_ends() -> None:
    a, b = trained(Plain, 0), trained(Plain, 1)
    curve = onefold.Subspace.between(a, b).train()
    optimiser = torch.optim.SGD(
        [p for p in curve.parameters() if p.requires_grad], 0.05, momentum=0.9
    )
    start = onefold.evaluate(curve.at(0.5), DATA).nll
    for _ in range(30):
        for x, y in DATA:
            optimiser.zero_grad()
            F.cross_entropy(curve(x), y).backward()
            optimiser.step()
    assert torch.equal(curve.vertex(0)(DATA[0][0]), a(DATA[0][0]))
    assert torch.equal(curve.at(1.0)(DATA[0][0]), b(DATA[0][0]))
    assert onefold.evaluate(curve.at(0.5), DATA).nll < 0.5 * start


def test_a_simplex_grows_by_a_vertex() -> None:
    line = onefold.Subspace(Plain(), "line").train()
    steps(line, sgd(line), 3)
    ends = [bits(line.vertex(k)) for k in range(2)]
    grown = line.grow()
    assert (grown.shape.name, grown.shape.vertices, grown.fixed) == ("simplex", 3, (0, 1))
    assert grown.training
    steps(grown, sgd(grown), 3)
    assert all(same_bits(bits(grown.vertex(k)), ends[k]) for k in range(2))
    given_one = line.grow(trained(Plain, 5), fixed=())
    assert same_bits(bits(given_one.vertex(2)), bits(trained(Plain, 5)))


# ---- mistakes


class Raw(nn.Module):
    """A parameter of its own, and nothing that initialises it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 3))
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x @ self.scale)


def _broken() -> nn.Module:
    model = Plain()
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = math.nan
    return model


MISTAKES = [
    (
        lambda: onefold.Subspace(Raw()),
        SubspaceError,
        "Raw itself owns scale but has no reset_parameters.*init=",
    ),
    (
        lambda: onefold.Subspace(nn.Sequential(nn.Linear(2, 2), Raw())),
        SubspaceError,
        "'1', a Raw, owns 1.scale",
    ),
    (
        lambda: onefold.Subspace(Raw(), init=lambda network: None),
        SubspaceError,
        "left 'scale' and 1 other weights as it was",
    ),
    (
        lambda: onefold.Subspace(Plain(), "simplex", 1),
        SubspaceError,
        "simplex has 2 to 1000 vertices, not 1",
    ),
    (
        lambda: onefold.Subspace(Plain(), "line", 3),
        SubspaceError,
        "line has exactly 2 vertices, not 3",
    ),
    (
        lambda: onefold.Subspace(Plain(), "lines"),
        SubspaceError,
        "no shape 'lines'; did you mean 'line'",
    ),
    (lambda: onefold.Subspace(Plain(), beta=-1), SubspaceError, "weight of 0 or more, not beta=-1"),
    (lambda: onefold.Subspace(Plain(), draws="rank"), SubspaceError, "not 'rank'"),
    (lambda: onefold.Subspace(Plain(), fixed=[3]), SubspaceError, "There is no vertex 3"),
    (lambda: onefold.Subspace(nn.Flatten()), SubspaceError, "no trainable parameter"),
    (
        lambda: onefold.Subspace(Plain(), include=["nothing*"]),
        SettingError,
        "'nothing\\*' of `include` matches no part",
    ),
    (lambda: onefold.Subspace(_broken()), SubspaceError, "of the model holds NaN or infinity"),
    (
        lambda: onefold.Subspace(Plain(), starts=[None, Residual()]),
        SubspaceError,
        "Start 1 is a Residual, the model a Plain",
    ),
    (
        lambda: onefold.Subspace(Plain()).at([0.5, 0.5, 0.5]),
        SubspaceError,
        "lie outside the simplex",
    ),
    (
        lambda: onefold.Subspace(Plain()).at([1.5, -0.5, 0.0]),
        SubspaceError,
        "lie outside the simplex",
    ),
    (lambda: onefold.Subspace(Plain()).at([0.5, 0.5]), SubspaceError, "3 vertices, but 2 weights"),
    (lambda: onefold.Subspace(Plain()).at(0.5), SubspaceError, "needs 3 weights that sum to 1"),
    (
        lambda: onefold.Subspace(Plain(), "line").at(1.1),
        SubspaceError,
        "position 1.1 lies outside the line",
    ),
    (lambda: onefold.Subspace(Plain()).vertex(3), SubspaceError, "no vertex 3; the simplex has 3"),
    (lambda: onefold.Subspace(Plain()).ensemble(2, ensemble="votes"), SettingError, "by 'votes'"),
    (
        lambda: onefold.Subspace(Plain(), "line").ensemble(2, at=[0.5]),
        SubspaceError,
        "An ensemble of 2 was asked for, but 1 points",
    ),
    (
        lambda: onefold.Subspace(Residual()).midpoint(),
        SubspaceError,
        "The midpoint needs data: the network has batch norm",
    ),
    (lambda: onefold.Subspace(Residual()).ensemble(2), SubspaceError, "An ensemble needs data"),
    (
        lambda: onefold.Subspace.between(Plain(), Residual()),
        SubspaceError,
        "The second end is a Residual",
    ),
    (
        lambda: onefold.Subspace.between(nn.Linear(2, 2), nn.Linear(2, 3)),
        SubspaceError,
        "has 'weight' of shape \\(3, 2\\), the model of shape",
    ),
    (
        lambda: onefold.Subspace.between(Plain(), Plain(), "simplex"),
        SubspaceError,
        "starts=\\[a, b\\]",
    ),
    (lambda: onefold.Subspace(Plain(), "curve").grow(), SubspaceError, "A curve cannot grow"),
    (lambda: onefold.Subspace(Plain()).coefficients, SubspaceError, "No point has been drawn yet"),
    (
        lambda: nn.DataParallel(onefold.Subspace(Plain())).module._replicate_for_data_parallel(),
        SubspaceError,
        "DistributedDataParallel",
    ),
    (
        lambda: onefold.Subspace(Plain()).eval().diversity_penalty(),
        SubspaceError,
        "belongs to a step of training",
    ),
]


@pytest.mark.parametrize(
    ("mistake", "kind", "message"), MISTAKES, ids=[m[2][:40] for m in MISTAKES]
)
def test_mistakes_are_answered_in_one_sentence(
    mistake: object, kind: type[OnefoldError], message: str
) -> None:
    assert callable(mistake)
    with pytest.raises(kind, match=message) as caught:
        mistake()
    assert "\n" not in str(caught.value)
