"""The output layer by logistic regression: its minimum, and what it does for real networks."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import onefold
from onefold.errors import SettingError
from onefold.fold import LeastSquares
from onefold.fold.least_squares import logistic
from onefold.fold.least_squares.logistic import Head, Rows, fit
from onefold.recipe import Recipe
from onefold.sources import build_data


def rows_of(seed: int, n: int = 60, inputs: int = 4, classes: int = 3) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, inputs, generator=generator, dtype=torch.float64)
    q = torch.randn(n, classes, generator=generator, dtype=torch.float64).softmax(-1)
    return Rows(x, q, torch.zeros(n, dtype=torch.bool))


def value(rows: Rows, head: Head, penalty: float) -> float:
    spread = rows.inputs.var(0, correction=0)[:, None]
    cross = -(rows.aim * head.log_probabilities(rows.inputs)).sum(-1).mean()
    return float(cross + penalty / 2 * (spread * head.matrix.square()).sum())


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from((0.001, 0.03, 0.3)))
def test_no_step_away_from_the_minimum_lowers_the_value(seed: int, penalty: float) -> None:
    rows = rows_of(seed)
    head = fit(rows, penalty)
    least = value(rows, head, penalty)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(5):
        matrix = head.matrix + 1e-2 * torch.randn(4, 3, generator=generator, dtype=torch.float64)
        constant = head.constant + 1e-2 * torch.randn(3, generator=generator, dtype=torch.float64)
        assert value(rows, Head(matrix, constant), penalty) > least
    far = Head(head.matrix + 1, head.constant)
    assert value(rows, far, penalty) > least + 1e-3


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_its_mean_is_the_mean_of_the_aim(seed: int) -> None:
    rows = rows_of(seed)
    mean = fit(rows, 0.03).log_probabilities(rows.inputs).exp().mean(0)
    assert torch.allclose(mean, rows.aim.mean(0), atol=1e-5)


def test_scales_and_shifts_of_the_inputs_do_not_matter() -> None:
    rows = rows_of(1)
    scale = torch.tensor([1e-3, 1.0, 30.0, 4.0], dtype=torch.float64)
    moved = rows._replace(inputs=rows.inputs * scale + 7)
    ours = fit(rows, 0.01).log_probabilities(rows.inputs)
    assert torch.allclose(fit(moved, 0.01).log_probabilities(moved.inputs), ours, atol=1e-4)
    mixed = rows._replace(inputs=rows.inputs.roll(1, 0))  # other inputs: other answers
    assert not torch.allclose(fit(mixed, 0.01).log_probabilities(mixed.inputs), ours, atol=1e-2)


def test_a_dead_input_gets_no_weight() -> None:
    rows = rows_of(2)
    inputs = rows.inputs.clone()
    inputs[:, 1] = 5.0
    head = fit(rows._replace(inputs=inputs), 0.01)
    assert torch.equal(head.matrix[1], torch.zeros(3, dtype=torch.float64))
    assert bool(torch.isfinite(head.constant).all())


def mlp(bias: bool = True) -> nn.Sequential:
    hidden = [nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(32, 10, bias=bias))


class Dense(nn.Module):
    """Class scores at every pixel, by a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


def digits(part: slice) -> tuple[Tensor, Tensor]:
    data = list(build_data("sklearn:digits"))
    images, labels = (torch.cat([batch[i] for batch in data]) for i in range(2))
    return images[part], labels[part]


def trained(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def halves() -> tuple[list[nn.Module], list[Tensor]]:
    """Two members that know five digits each, and images without labels."""
    images, labels = digits(slice(0, 600))
    known = (labels < 5, labels > 4)
    members = [trained(images[own], labels[own], seed) for seed, own in enumerate(known)]
    return members, list(digits(slice(600, 1000))[0].split(100))


def test_it_is_far_better_where_members_never_saw_a_class(
    halves: tuple[list[nn.Module], list[Tensor]],
) -> None:
    members, images = halves
    judged = [digits(slice(1000, 1257))]
    before = [p.clone() for m in members for p in m.parameters()]

    def accuracy(**settings: str) -> float:
        fold = LeastSquares(ensemble="classes", **settings)
        result = onefold.merge(members, images, align="none", fold=fold)
        json.dumps(result.report.to_dict(), allow_nan=False)
        heads = result.report.folded["heads"]
        if settings:
            (head,) = heads
            assert head["penalty"] is not None
            assert head["after"] >= head["before"]
        else:
            assert heads == []
        return onefold.evaluate(result.model, judged).accuracy

    best = max(onefold.evaluate(member, judged).accuracy for member in members)
    logistic = accuracy(head="logistic")
    assert logistic > accuracy() + 0.03
    assert logistic > best + 0.15
    assert all(map(torch.equal, before, [p for m in members for p in m.parameters()]))


def test_where_none_is_better_the_result_is_that_of_squares(
    halves: tuple[list[nn.Module], list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shift of the class means is part of it."""
    members, images = halves
    monkeypatch.setattr(logistic, "PENALTIES", ())
    squares, kept = (
        onefold.merge(members, images, align="none", fold=LeastSquares(ensemble="classes", head=h))
        for h in ("squares", "logistic")
    )
    assert kept.report.folded["heads"][0]["penalty"] is None
    state = kept.model.state_dict()
    assert all(
        torch.equal(value, state[name]) for name, value in squares.model.state_dict().items()
    )


def test_the_same_data_give_the_same_bits(halves: tuple[list[nn.Module], list[Tensor]]) -> None:
    members, images = halves
    fold = LeastSquares(head="logistic")
    first, second = (onefold.merge(members, images, align="none", fold=fold) for _ in range(2))
    state = second.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.model.state_dict().items())


def test_identical_members_stay_as_they_are(halves: tuple[list[nn.Module], list[Tensor]]) -> None:
    member, images = halves[0][0], halves[1]
    fold = LeastSquares(head="logistic")
    result = onefold.merge([member, copy.deepcopy(member)], images, align="none", fold=fold)
    x = torch.cat(images)
    with torch.no_grad():
        probabilities = [model(x).softmax(-1) for model in (member, result.model)]
    assert float((probabilities[0] - probabilities[1]).abs().max()) < 0.05
    same = probabilities[0].argmax(-1) == probabilities[1].argmax(-1)
    assert float(same.float().mean()) > 0.97


def test_a_convolution_that_puts_out_classes_is_fitted_too() -> None:
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        members.append(Dense().eval())
    images = [torch.randn(20, 1, 6, 6, generator=torch.Generator().manual_seed(k)) for k in (0, 1)]
    fold = LeastSquares(head="logistic")
    output = onefold.inference.Output(class_axis=1)
    result = onefold.merge(members, images, align="none", fold=fold, output=output)
    (head,) = result.report.folded["heads"]
    assert head["weights"] == "last.weight"
    assert bool(torch.isfinite(result.model(images[0])).all())


def test_a_layer_that_cannot_be_fitted_is_told() -> None:
    members = [mlp(bias=False).eval() for _ in range(2)]
    images = [torch.randn(50, 1, 8, 8) for _ in range(2)]
    fold = LeastSquares(head="logistic")
    result = onefold.merge(members, images, align="none", fold=fold)
    assert result.report.folded["heads"] == []
    assert any("logistic regression" in str(note) for note in result.report.warnings)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingError, match="did you mean 'logistic'"):
        LeastSquares(head="logistics")
    with pytest.raises(SettingError, match="mean of logits"):
        LeastSquares(head="logistic", ensemble="logits")


def test_it_aims_at_probabilities_if_nothing_is_said() -> None:
    assert LeastSquares(head="logistic").ensemble == "probabilities"
    assert LeastSquares(head="logistic", ensemble="classes").ensemble == "classes"
    assert LeastSquares().ensemble is None


def test_a_recipe_holds_it() -> None:
    fold = {"name": "least_squares", "head": "logistic"}
    members, data = [{"path": "a"}, {"path": "b"}], {"source": "sklearn:digits"}
    content = {"model": "digits", "members": members, "fold": fold, "data": data}
    recipe = Recipe.model_validate(content)
    assert recipe.fold == LeastSquares(head="logistic")
