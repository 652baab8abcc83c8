"""Barriers along the line of two networks, and the triangle of three."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.errors import DataError, MembersError, SettingError
from onefold.measure import LinearPath, Scores, combine, evaluate, triangle
from onefold.measure.path import above_line


class Net(nn.Module):
    def __init__(self, seed: int, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.body(x)).relu())


@pytest.fixture(scope="module")
def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(3, 4, generator=generator)
    labels = torch.randint(3, (120,), generator=generator)
    return list(
        zip(
            (centres[labels] + torch.randn(120, 4, generator=generator)).split(40),
            labels.split(40),
            strict=True,
        )
    )


@pytest.fixture(scope="module")
def trained(data: list[tuple[Tensor, Tensor]]) -> Net:
    model = Net(0)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(30):
        for x, y in data:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
    return model


def permuted(model: Net, order: list[int]) -> Net:
    """The same function, its hidden units in another order."""
    other = Net(1)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for key, value in state.items():
        if key.startswith(("body", "norm")) and value.dim():
            state[key] = value[order]
    state["head.weight"] = state["head.weight"][:, order]
    other.load_state_dict(state)
    return other


def test_a_network_and_itself_have_no_barrier_but_its_permutation_does(
    trained: Net, data: list[tuple[Tensor, Tensor]]
) -> None:
    none = onefold.barrier(trained, trained, data, points=5)
    assert none.barrier < 1e-6
    assert none.dip == 0
    other = permuted(trained, [1, 2, 3, 4, 5, 6, 7, 0])
    path = onefold.barrier(trained, other, data, points=5)
    assert path.scores[0].accuracy == path.scores[-1].accuracy > 0.9
    assert path.barrier > 0.1
    assert path.dip > 0.01
    assert path.positions == (0, 0.25, 0.5, 0.75, 1)


def test_the_ends_are_the_networks_and_the_inputs_stay(
    trained: Net, data: list[tuple[Tensor, Tensor]]
) -> None:
    other = Net(5)
    before = [
        {key: value.clone() for key, value in model.state_dict().items()}
        for model in (trained, other)
    ]
    path = onefold.barrier(
        trained,
        other,
        data,
        points=3,
        recalibrate=lambda network: nn.init.zeros_(network.head.weight),
    )  # type: ignore[arg-type]
    assert path.recalibrated
    path = onefold.barrier(trained, other, data, points=3)
    assert (path.scores[0], path.scores[-1]) == (evaluate(trained, data), evaluate(other, data))
    for model, state in zip((trained, other), before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_reestimated_statistics_undo_wrong_ones(
    trained: Net, data: list[tuple[Tensor, Tensor]]
) -> None:
    spoiled = combine([trained], [1.0])
    spoiled.norm.running_var.mul_(100)  # type: ignore[union-attr,operator]
    plain = onefold.barrier(spoiled, spoiled, data, points=3)
    again = onefold.barrier(
        spoiled,
        spoiled,
        data,
        points=3,
        recalibrate="batchnorm",
        calibration_data=[x for x, _ in data],
    )
    assert again.midpoint.nll < plain.midpoint.nll
    assert not plain.recalibrated
    assert again.recalibrated
    assert "re-estimated" in str(again)


def test_combine_interpolates_floats_and_keeps_integers_of_the_first() -> None:
    a, b = Net(0), Net(1)
    a.norm.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    b.norm.running_mean.fill_(4)  # type: ignore[union-attr]
    middle = combine([a, b], [0.25, 0.75])
    assert torch.allclose(middle.body.weight, 0.25 * a.body.weight + 0.75 * b.body.weight)
    assert torch.equal(middle.norm.running_mean, torch.full((8,), 3.0))
    assert int(middle.norm.num_batches_tracked) == 7  # type: ignore[union-attr,arg-type]


def test_combine_is_exact_at_the_ends_and_half_precision_sums_in_float32() -> None:
    a, b = Net(0), Net(1)
    with torch.no_grad():
        b.head.weight.fill_(torch.inf)
    assert torch.equal(combine([a, b], [1, 0]).head.weight, a.head.weight)
    c, d = Net(0).bfloat16(), Net(1).bfloat16()
    expected = ((c.body.weight.float() * 0.3) + (d.body.weight.float() * 0.7)).bfloat16()
    assert torch.equal(combine([c, d], [0.3, 0.7]).body.weight, expected)


def test_barrier_is_measured_from_the_straight_line_between_unequal_ends() -> None:
    assert above_line([0, 0.5, 1], [1.0, 2.0, 3.0]) == [0, 0, 0]
    assert above_line([0, 0.25, 1], [1.0, 5.0, 3.0]) == [0, 3.5, 0]
    scores = [
        Scores.of_classifier(accuracy, nll, 0.1, 0.2, 100)
        for accuracy, nll in ((0.9, 1.0), (0.4, 4.0), (0.7, 3.0))
    ]
    path = LinearPath((0, 0.5, 1), tuple(scores))
    assert path.barrier == pytest.approx(2)
    assert path.dip == pytest.approx(0.4)
    assert LinearPath((0, 0.5, 1), tuple(scores), "error").barrier == pytest.approx(0.4)
    below = LinearPath((0, 0.5, 1), (scores[1], scores[0], scores[1]))
    assert below.barrier == 0


def test_an_infinite_loss_in_the_middle_is_an_infinite_barrier_and_valid_json() -> None:
    scores = [Scores.of_classifier(0.9, nll, 0.1, 0.2, 100) for nll in (1.0, math.inf, 1.0)]
    path = LinearPath((0, 0.5, 1), tuple(scores))
    assert path.barrier == math.inf
    assert json.loads(json.dumps(path.to_dict(), allow_nan=False))["barrier"] == "inf"


def test_what_does_not_fit_is_refused_before_any_scoring(
    trained: Net, data: list[tuple[Tensor, Tensor]]
) -> None:
    with pytest.raises(
        MembersError,
        match=r"Tensor 'body\.weight' has shape \(9, 4\) in member 1 and \(8, 4\) in member 0",
    ):
        onefold.barrier(trained, Net(1, width=9), data)
    with pytest.raises(MembersError, match="Member 1 is a Linear, member 0 a Net"):
        onefold.barrier(trained, nn.Linear(4, 3), data)
    extra = Net(1)
    extra.register_parameter("gain", nn.Parameter(torch.ones(1)))
    with pytest.raises(MembersError, match="Tensor 'gain' is in member 1 only"):
        onefold.barrier(trained, extra, data)
    with pytest.raises(SettingError, match="at least 3"):
        onefold.barrier(trained, trained, data, points=2)
    with pytest.raises(SettingError, match="no loss named"):
        onefold.barrier(trained, trained, data, loss="l2")
    with pytest.raises(DataError, match="read only once"):
        onefold.barrier(trained, trained, iter(data))
    with pytest.raises(DataError, match="calibration_data"):
        onefold.barrier(trained, trained, data, recalibrate="batchnorm")
    broken = Net(1)
    with torch.no_grad():
        broken.head.bias.fill_(torch.nan)
    with pytest.raises(MembersError, match="The second network has no finite NLL"):
        onefold.barrier(trained, broken, data)


def test_the_triangle_has_the_networks_at_its_corners(
    trained: Net, data: list[tuple[Tensor, Tensor]]
) -> None:
    members = [trained, Net(1), Net(2)]
    plane = triangle(*members, data, resolution=3)
    assert len(plane.weights) == len(plane.scores) == 10
    assert all(sum(weights) == pytest.approx(1) and min(weights) >= 0 for weights in plane.weights)
    for k, model in enumerate(members):
        corner = plane.weights.index(tuple(float(i == k) for i in range(3)))
        assert plane.scores[corner] == evaluate(model, data)
