"""Gates of every task: one bad member is shut out, and the rest decide by the task's own score."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from task_cases import CASES, Perceptron, task_members
from torch import Tensor, nn

import onefold
from onefold.errors import DataError, MembersError, OnefoldError, SettingError
from onefold.fold import SoftMerge, fit_gates
from onefold.tasks import Metric, Scores, tasks

OTHERS = [name for name in CASES if name != "classification"]


@torch.no_grad()
def noise(network: nn.Module) -> nn.Module:
    """A copy with random weights of the same sizes, which knows nothing."""
    bad = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(9)
    for parameter in bad.parameters():
        parameter.copy_(parameter.std() * torch.randn(parameter.shape, generator=generator))
    return bad


def primary(model: nn.Module, task: str) -> Scores:
    return onefold.evaluate(model, CASES[task].data(1024, seed=77), task=task)


@pytest.mark.parametrize("level", ["model", "layer"])
@pytest.mark.parametrize("task", list(CASES))
def test_one_bad_member_is_shut_out_and_costs_nothing(task: str, level: str) -> None:
    good = task_members(task)
    networks = [good[0], noise(good[0]), good[1]]
    data = CASES[task].data(384, seed=55)
    result = fit_gates(SoftMerge(networks, level), data, task=task, steps=60)
    assert bool((result.gates.values[:, 1] == 0).all()), result.gates
    assert result.choice != "member 1"
    found = {k: primary(network, task) for k, network in enumerate(networks)}
    best = max((found[k] for k in (0, 2)), key=lambda scores: scores.rank)
    mine = primary(result.model, task)
    assert mine.kind.name == CASES[task].score
    lost = best.kind.better(best.primary) - best.kind.better(mine.primary)
    assert lost <= 2 * best.error
    assert {scores.task for scores in result.scores.values()} == {task}
    assert all(scores.by == CASES[task].score for scores in result.scores.values())


# The members of token_classification know all that can be known, so that one of them will do.
@pytest.mark.parametrize("task", [name for name in CASES if name != "token_classification"])
def test_gates_of_a_good_pair_stay_open_at_model_level(task: str) -> None:
    data = CASES[task].data(384, seed=56)
    soft = SoftMerge(task_members(task), "model")
    result = fit_gates(soft, data, task=task, steps=60, penalty=1e-4)
    assert bool((result.gates.values > 0.1).all()), result.gates
    gated, single = result.scores["gated"], result.scores["member 0"]
    assert gated.kind.better(gated.primary) > single.kind.better(single.primary) - single.error


@pytest.mark.parametrize("task", list(CASES))
def test_auto_tells_the_task(task: str) -> None:
    networks, data = task_members(task), CASES[task].data(256, seed=57)
    auto = fit_gates(SoftMerge(networks, "model"), data, steps=10)
    named = fit_gates(SoftMerge(networks, "model", task=task), data, steps=10)
    assert auto.losses == named.losses
    assert auto.soft.reading.told.name == task
    assert str(auto.decision) == str(named.decision)


@pytest.mark.parametrize("task", OTHERS)
def test_a_hardened_network_computes_what_the_gates_do(task: str) -> None:
    data = CASES[task].data(128, seed=58)
    for level in ("model", "layer"):
        soft = SoftMerge(task_members(task), level, task=task)
        result = fit_gates(soft, data, steps=5, fallback=False)
        with torch.no_grad():
            torch.testing.assert_close(result.model(data[0][0]), soft.eval()(data[0][0]))


def test_units_of_the_labels_do_not_matter() -> None:
    """Labels, and the members' last layers, a thousand times as large: the same gates."""
    networks, data = task_members("regression"), CASES["regression"].data(256, seed=59)
    large = [copy.deepcopy(network) for network in networks]
    with torch.no_grad():
        for network in large:
            network.head.weight.mul_(1000)
            network.head.bias.mul_(1000)
    for level in ("model", "layer"):
        asked = {"align": "none"} if level == "layer" else {}
        mine = fit_gates(SoftMerge(networks, level, **asked), data, steps=30)
        other = fit_gates(
            SoftMerge(large, level, **asked), [(x, 1000 * y) for x, y in data], steps=30
        )
        torch.testing.assert_close(mine.gates.values, other.gates.values, rtol=1e-3, atol=1e-3)
        assert mine.choice == other.choice


def test_the_reason_tells_the_scores_of_the_task() -> None:
    result = fit_gates(
        SoftMerge(task_members("regression"), "model"), CASES["regression"].data(256), steps=20
    )
    text = str(result.decision)
    assert re.search(r"\(gated RMSE [\d.]+, loss [\d.]+; member \d RMSE [\d.]+, loss", text)
    assert "accuracy" not in text
    assert "nats" not in text
    assert "temperature" not in text
    told = result.to_dict()
    assert told["chosen by"]["score"] == "rmse"
    assert told["held-out scores"]["gated"]["units"]["rmse"]["highest"] is False


def test_candidates_are_chosen_by_the_score_that_is_asked_for() -> None:
    networks, data = task_members("regression"), CASES["regression"].data(256, seed=60)

    def largest(outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs - labels).abs().amax(1)

    result = fit_gates(
        SoftMerge(networks, "model"),
        data,
        metrics=Metric(largest, "largest error", highest=False),
        by="largest error",
        steps=20,
    )
    assert result.decision is not None
    assert result.decision.kind.name == "largest error"
    assert "lowest largest error" in str(result.decision) or "behind in largest" in str(
        result.decision
    )
    assert all("rmse" in scores.values for scores in result.scores.values())
    mae = fit_gates(SoftMerge(networks, "model"), data, by="mae", steps=5)
    assert mae.decision is not None
    assert mae.decision.kind.label == "MAE"


def test_a_metric_without_errors_of_its_own_still_decides() -> None:
    def batch_error(outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs - labels).abs().mean()

    result = fit_gates(
        SoftMerge(task_members("regression"), "model"),
        CASES["regression"].data(256, seed=61),
        metrics=Metric(batch_error, "error", highest=False),
        by="error",
        steps=20,
    )
    scores = result.scores
    best = min(result.decision.candidates, key=lambda name: scores[name]["error"])  # type: ignore[union-attr]
    assert result.choice == best


def test_a_task_of_a_users_own_learns_gates() -> None:
    @tasks.register("absolute")
    class Absolute(tasks.get("regression")):  # type: ignore[misc]
        name = "absolute"

        def losses(self, values: Tensor, targets: Tensor) -> Tensor:
            return (values - targets.to(values)).abs().mean(1)

    try:
        networks, data = task_members("regression"), CASES["regression"].data(256, seed=62)
        networks = [*networks, noise(networks[0])]
        result = fit_gates(SoftMerge(networks, "model"), data, task="absolute", steps=30)
        assert bool((result.gates.values[:, 2] == 0).all())
        assert result.scores["gated"].task == "absolute"
    finally:
        tasks.unregister("absolute")


def test_the_best_scale_of_a_useless_regressor_is_told() -> None:
    good = task_members("regression")[0]
    data = CASES["regression"].data(256, seed=63)
    still = copy.deepcopy(good)
    nn.init.normal_(still.head.weight, std=1e-30)  # type: ignore[union-attr]
    soft = SoftMerge([good, still], "model").prepare(data)
    assert re.fullmatch(
        r"it tells nothing of the labels: at its best scale and shift it explains 0\.00 % of"
        r" their variance, of which it must explain 1 %",
        soft.dropped[1],
    )


class Broken(Perceptron):
    """Puts out NaN where an input is above 2.5."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).masked_fill(x.amax(1, keepdim=True) > 2.5, torch.nan)


def test_outputs_that_are_not_finite_name_the_example() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 6).clamp(-2, 2)
    y = torch.stack([x[:, 0], x[:, 1]], 1)
    x[117, 3] = 3.0
    data = list(zip(x.split(50), y.split(50), strict=True))
    for with_split in (True, False):
        with pytest.raises(MembersError) as error:
            fit_gates(
                SoftMerge([Broken(2), Broken(2)], "model"),
                data,
                held_out=None if with_split else data,
                steps=2,
                share=0.1,
                seed=1,
            )
        assert "outputs are not finite on 1 of" in str(error.value)
        assert "the first of them example 117 of the data" in str(error.value)


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("regression", "float column", "puts out 2 numbers for each of"),
        ("binary", "class", r"several numbers for each example; a binary classifier puts out one"),
        ("classification", "float", r"\.long\(\)|class numbers"),
        ("multilabel", "negative", "A label of batch 0 is 7; labels of yes or no are 0 and 1"),
        ("language_modeling", "class", "language modeling needs logits|The outputs|The labels"),
        ("regresion", "float", "There is no task named 'regresion'; did you mean"),
    ],
)
def test_a_task_that_does_not_fit_is_one_sentence(task: str, labels: str, message: str) -> None:
    networks = task_members("regression")
    x = torch.randn(64, 6)
    given = {
        "float column": torch.randn(64),
        "class": torch.arange(64) % 2,
        "float": torch.randn(64, 2),
        "negative": torch.full((64, 2), 7.0),
    }[labels]
    with pytest.raises(OnefoldError, match=message) as error:
        fit_gates(SoftMerge(networks, "model"), [(x, given)], task=task)
    assert "\n" not in str(error.value)


def test_probabilities_are_refused_where_there_are_no_classes() -> None:
    message = "Sums of probabilities are for tasks with classes, and the task is regression"
    with pytest.raises(SettingError, match=message):
        SoftMerge(task_members("regression"), "model", outputs="probabilities", task="regression")
    soft = SoftMerge(task_members("regression"), "model", outputs="probabilities")
    with pytest.raises(SettingError, match=message):
        fit_gates(soft, CASES["regression"].data())


def test_a_score_that_no_task_has_is_refused_before_anything_is_run() -> None:
    soft = SoftMerge(task_members("regression"), "model")
    with pytest.raises(SettingError, match="There is no score 'accuracy' of regression to choose"):
        fit_gates(soft, CASES["regression"].data(), task="regression", by="accuracy")
    with pytest.raises(SettingError, match="is to choose, but nothing says whether more"):
        fit_gates(
            soft, CASES["regression"].data(), metrics=Metric(lambda o, y: 0.0, "odd"), by="odd"
        )


def test_held_out_labels_that_do_not_fit_are_refused_before_gates_are_learned() -> None:
    data = CASES["regression"].data()
    wrong = [(x, y.clone().fill_(torch.inf)) for x, y in data]
    with pytest.raises(DataError, match="A label of example 0 of batch 0 is infinite"):
        fit_gates(SoftMerge(task_members("regression"), "model"), data, held_out=wrong, steps=1)


def test_labels_that_are_missing_do_not_count() -> None:
    data = CASES["regression"].data(256, seed=64)
    for _, y in data:
        y[::7] = torch.nan
        y[3, 0] = torch.nan
    for level in ("model", "layer"):
        result = fit_gates(SoftMerge(task_members("regression"), level), data, steps=10)
        assert all(torch.isfinite(torch.tensor(result.losses)))
        assert result.scores["gated"].ignored > 0
