"""Means of outputs, what students are taught, and temperatures, of every task."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_outputs import MADE, Known, noise, whole
from torch import Tensor

from onefold.batches import Batch
from onefold.errors import DataError, SettingError
from onefold.inference import ANY
from onefold.measure import evaluate
from onefold.tasks import Bins, Classification, tasks
from onefold.tasks.base import Rows, joined
from onefold.tasks.means import mean_of_binary, mean_of_classes, plain_mean


@given(st.integers(1, 5), st.integers(0, 10_000), st.sampled_from([0.1, 1.0, 20.0]))
@settings(max_examples=40, deadline=None)
def test_means_follow_their_definitions(members: int, seed: int, scale: float) -> None:
    logits = [scale * noise(6, 3, seed=seed + k) for k in range(members)]
    p = torch.stack([one.sigmoid() for one in logits]).mean(0)
    assert torch.allclose(mean_of_binary(logits).sigmoid(), p)
    q = torch.stack([one.softmax(-1) for one in logits]).mean(0)
    assert torch.allclose(mean_of_classes(logits).exp(), q)
    assert torch.allclose(plain_mean(logits), torch.stack(logits).mean(0))


def test_a_mean_of_sure_members_loses_no_digits() -> None:
    sure = [torch.tensor([[800.0]]), torch.tensor([[900.0]])]
    expected = -math.log((math.exp(0) + math.exp(-100)) / 2) + 800
    assert float(mean_of_binary(sure)) == pytest.approx(expected)
    assert float(mean_of_binary([sure[0], -sure[0]])) == pytest.approx(0.0)
    one = noise(4, 1)
    assert torch.allclose(mean_of_binary([one]), one)


@pytest.mark.parametrize("task", MADE)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_divergence_is_none_at_its_aim(task: str, temperature: float) -> None:
    kind = tasks.get(task)()
    values = kind.reader(ANY, "teaching").values(MADE[task][0], Batch((MADE[task][0],), {}, None))
    aim = kind.aim(values, temperature)
    assert float(kind.divergence(values, aim, temperature)) == pytest.approx(0.0, abs=1e-6)
    for seed in range(4):
        other = values + 0.5 * noise(*values.shape, seed=seed)
        assert float(kind.divergence(other, aim, temperature)) > 1e-4


def by_definition(task: str, values: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The divergence in float64, as the documents say."""
    if task == "regression":
        return (values - teacher).square().mean()
    if task in ("binary", "multilabel"):
        p, q = (values / temperature).sigmoid(), (teacher / temperature).sigmoid()
        gap = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    else:
        p, q = (values / temperature).softmax(-1), (teacher / temperature).softmax(-1)
        gap = q * (q / p).log()
    return temperature**2 * gap.sum(-1).mean()


@pytest.mark.parametrize("task", MADE)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a_divergence_has_the_slope_of_its_definition(task: str, temperature: float) -> None:
    kind = tasks.get(task)()
    size = 1 if task == "binary" else 3
    values, teacher = noise(5, size), noise(5, size, seed=7)
    values.requires_grad_()
    aim = kind.aim(teacher, temperature)
    found = kind.divergence(values, aim, temperature)
    slope = torch.autograd.grad(found, values)[0]
    expected = by_definition(task, values, teacher, temperature)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    step = 1e-5
    for place in range(values.numel()):
        moved = []
        for sign in (1, -1):
            other = values.detach().clone()
            other.view(-1)[place] += sign * step
            moved.append(float(by_definition(task, other, teacher, temperature)))
        numeric = (moved[0] - moved[1]) / (2 * step)
        assert float(slope.view(-1)[place]) == pytest.approx(numeric, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("task", [name for name in MADE if name != "regression"])
def test_calibrated_rows_have_the_least_loss(task: str) -> None:
    kind, (outputs, labels) = tasks.get(task)(), MADE[task]
    rows = kind.reader(ANY, "scoring").rows(outputs, Batch((outputs,), {}, labels))
    knowing = rows.values + (
        rows.targets * 2 - 1
        if rows.targets.is_floating_point()
        else torch.nn.functional.one_hot(rows.targets, rows.values.shape[-1])
    )
    for scale in (0.01, 1.0, 300.0):
        best = kind.calibrated(scale * knowing, rows.targets)
        least = float(kind.losses(best, rows.targets).mean())
        for factor in (0.8, 0.95, 1.05, 1.25):
            assert least <= float(kind.losses(factor * best, rows.targets).mean()) + 1e-9
        assert torch.equal(best.argmax(-1), knowing.argmax(-1))


def test_numbers_have_no_temperature() -> None:
    values = noise(4, 2)
    assert torch.equal(tasks.get("regression")().calibrated(values, values), values)


@pytest.mark.parametrize("task", MADE)
def test_what_knows_nothing_is_useless(task: str) -> None:
    kind, (outputs, labels) = tasks.get(task)(), MADE[task]
    rows = kind.reader(ANY, "scoring").rows(outputs, Batch((outputs,), {}, labels))
    guess = kind.guess(rows.values, rows.targets)
    assert guess.shape == rows.values.shape
    assert kind.useless(kind.calibrated(guess, rows.targets), rows.targets)


@pytest.mark.parametrize("task", MADE)
def test_an_ensemble_of_one_network_twice_is_that_network(task: str) -> None:
    data = [MADE[task]]
    alone = evaluate(Known(), data, task=task)
    for mean in tasks.get(task).means:
        both = evaluate([Known(), Known()], data, task=task, ensemble=mean)
        assert both.values == pytest.approx(alone.values, rel=1e-5)
        assert both.ensemble == mean


def test_a_mean_that_a_task_has_not_is_refused() -> None:
    with pytest.raises(SettingError, match="no mean of probabilities"):
        evaluate([Known()] * 2, [MADE["regression"]], task="regression", ensemble="probabilities")


@pytest.mark.parametrize("task", MADE)
@pytest.mark.parametrize("most", [1, 50, 10**9])
def test_rows_that_are_joined_give_the_same_scores(task: str, most: int) -> None:
    kind, (outputs, labels) = tasks.get(task)(), MADE[task]
    if task in ("segmentation", "binary"):
        labels = labels.clone()
        labels[3] = -1
    reader, parts = kind.reader(ANY, "scoring"), []
    for number, (x, y) in enumerate(zip(outputs.split(7), labels.split(7), strict=True)):
        parts.append(reader.rows(x, Batch((x,), {}, y, number)))
    found = []
    for some in (parts, list(joined(parts, most))):
        tally = kind.tally(Bins())
        for rows in some:
            tally.add(rows)
        found.append(tally.counted(kind.scores[0].name))
    assert found[1].values == pytest.approx(found[0].values)
    assert found[1].n == found[0].n
    assert torch.allclose(found[1].answers.hits.double(), found[0].answers.hits.double())
    assert found[1].answers.labels == found[0].answers.labels


def test_nothing_is_joined_to_nothing() -> None:
    assert list(joined([])) == []
    one = Rows(noise(3, 2), whole(2, 3))
    assert list(joined([one])) == [one]


def test_labels_are_needed() -> None:
    with pytest.raises(DataError, match="labels"):
        evaluate(Known(), [noise(3, 2)], task="regression")


@pytest.mark.parametrize("name", tasks.names())
def test_the_mean_loss_is_the_mean_of_the_losses(name: str) -> None:
    task = tasks.get(name)()
    values = torch.randn(12, 3, dtype=torch.float64)
    targets = torch.rand(12, 3).double().round()
    if task.classes:
        targets = torch.randint(3, (12,))
    if name == "binary":
        values, targets = values[:, :1], targets[:, :1]
    mean = task.mean_loss(values, targets)
    torch.testing.assert_close(mean, task.losses(values, targets).mean())


def test_a_subclass_with_losses_of_its_own_has_their_mean() -> None:
    class Halved(Classification):
        def losses(self, values: Tensor, targets: Tensor) -> Tensor:
            return super().losses(values, targets) / 2

    values, targets = torch.randn(9, 4), torch.randint(4, (9,))
    plain = Classification().mean_loss(values, targets)
    torch.testing.assert_close(Halved().mean_loss(values, targets), plain / 2)
