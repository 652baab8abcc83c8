"""Subspaces and persistent rounds of every task: the loss and the deciding score are the task's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from task_cases import CASES
from torch import Tensor, nn

import onefold
from onefold.batches import Batch
from onefold.errors import DataError, OnefoldError, PersistentError, SubspaceError
from onefold.explore.epochs import Epochs
from onefold.explore.persistent.functional import predict
from onefold.explore.persistent_training import Rounds, runs_of, train_rounds
from onefold.explore.subspace_training import train
from onefold.explore.training import Training, check_fit
from onefold.tasks import Scoring, tasks


def fabric() -> Fabric:
    found = Fabric(accelerator="cpu", devices=1)
    found.launch()
    return found


def nothing(state: Any) -> None:
    """Keeps nothing."""


def plan(data: list[Any], epochs: int = 8, lr: float = 0.2) -> Training:
    return Training(epochs=epochs, steps=len(data), lr=lr, weight_decay=0.0)


@pytest.mark.parametrize("task", list(CASES))
def test_a_subspace_of_every_task_learns(task: str) -> None:
    case = CASES[task]
    data, test = case.data(512, seed=1, size=32), case.data(512, seed=2)
    torch.manual_seed(0)
    space = onefold.Subspace(case.build(), "line", seed=0)
    before = onefold.evaluate(space.midpoint(), test, task=task)
    train(fabric(), space, Epochs(lambda seed: data, 0), plan(data), None, nothing, Scoring(task))
    after = onefold.evaluate(space.midpoint(), test, task=task)
    assert after.rank > before.rank
    assert after.loss < 0.9 * before.loss
    told = onefold.evaluate(space.midpoint(), test)
    assert told.task == task


@pytest.mark.parametrize("task", list(CASES))
@pytest.mark.parametrize("kernel", ["gaussian", "function"])
def test_persistent_rounds_of_every_task_are_ranked_by_its_score(task: str, kernel: str) -> None:
    case = CASES[task]
    data, validation = case.data(256, seed=1, size=32), case.data(256, seed=2)
    extra = {"reference": data[0], "task": task} if kernel == "function" else {}
    made: list[onefold.PersistentTraining] = []

    def persistent(network: nn.Module) -> onefold.PersistentTraining:
        made.append(onefold.PersistentTraining(network, 2 * len(data), kernel=kernel, **extra))
        return made[-1]

    def fresh(number: int) -> nn.Module:
        torch.manual_seed(number)
        return case.build()

    states: list[Any] = []
    rounds = Rounds(
        fresh(0),
        persistent,
        fresh,
        lambda seed: Epochs(lambda own: data, seed),
        validation,
        plan(data, epochs=2),
        "same",
        0,
        Scoring(task),
    )
    train_rounds(fabric(), rounds, runs_of(2, False), None, states.append)
    done = states[-1]["done"]
    run = made[0]
    for number, name in enumerate(("round 0", "round 1")):
        found = onefold.evaluate(run.network(number), validation, task=task)
        assert done[name]["score"] == pytest.approx(found.primary)
        assert run.scores[number] == pytest.approx(found.kind.better(found.primary))
    best = max(
        (onefold.evaluate(run.network(k), validation, task=task) for k in (0, 1)),
        key=lambda scores: scores.rank,
    )
    mine = onefold.evaluate(run.best(), validation, task=task)
    assert mine.primary == best.primary


def test_predictions_that_repel_are_those_of_the_task() -> None:
    x = torch.randn(5, 6)
    torch.manual_seed(0)
    outputs = {task: CASES[task].build().eval() for task in ("regression", "multilabel", "binary")}
    for task, network in outputs.items():
        found = predict(network, Batch((x,)), scoring=Scoring(task))
        wanted = network(x) if task == "regression" else network(x).sigmoid()
        torch.testing.assert_close(found, wanted)
    network = outputs["regression"]
    labelled = Batch((x,), {}, torch.randn(5, 2))
    torch.testing.assert_close(predict(network, labelled), network(x))
    torch.testing.assert_close(predict(network, Batch((x,))), network(x).softmax(1))
    pixels = CASES["segmentation"].build().eval()
    found = predict(pixels, Batch((torch.randn(2, 1, 8, 8),)), scoring=Scoring("segmentation"))
    torch.testing.assert_close(found.sum(1), torch.ones(2, 8, 8))


@pytest.mark.parametrize(("task", "mean"), [("binary", "probabilities"), ("regression", "outputs")])
def test_rounds_answer_by_the_mean_of_their_task(task: str, mean: str) -> None:
    network = CASES[task].build()
    run = onefold.PersistentTraining(network, 4, task=task)
    run.record(1.0)
    run.restart()
    with torch.no_grad():
        network.head.bias.add_(1.0)  # type: ignore[union-attr,operator]
    run.record(0.5)
    x = torch.randn(5, 6)
    together = run.ensemble()
    assert together.mean == mean
    first, second = (run.network(k)(x) for k in range(2))
    wanted = tasks.get(task)().mean([first, second], mean)
    torch.testing.assert_close(together(x), wanted)


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("classification", torch.randn(8, 2), "class numbers|probabilities that sum to 1"),
        ("binary", torch.ones(8), "a binary classifier puts out one logit"),
        ("multilabel", torch.full((8, 2), 3.0), "labels of yes or no are 0 and 1"),
        ("regression", torch.randn(8, 3), "puts out 2 numbers for each of 8 examples"),
        ("regression", torch.full((8, 2), torch.inf), "A label of example 0 of batch 0 is inf"),
        ("auto", torch.tensor([0.0, 1.0] * 4), "no task that is known|convert class numbers"),
    ],
)
def test_a_task_that_does_not_fit_is_refused_before_training(
    task: str, labels: Tensor, message: str
) -> None:
    from onefold.explore.training import training_reading

    network = CASES["regression"].build()
    with pytest.raises(OnefoldError, match=message) as error:
        check_fit(
            network, [(torch.randn(8, 6), labels)], "training data", training_reading(Scoring(task))
        )
    assert "\n" not in str(error.value)


def test_labels_of_another_range_are_found_in_any_batch() -> None:
    data = CASES["multilabel"].data(128)
    data[1][1][5, 1] = 2
    with pytest.raises(DataError, match="A label of batch 1 is 2"):
        check_fit(CASES["multilabel"].build(), data, "training data")


def test_series_of_unequal_length_are_checked_with_the_network() -> None:
    network = CASES["token_classification"].build()
    ids = [torch.randint(12, (4, length)) for length in (5, 7)]
    good = [(one, one % 3) for one in ids]
    reading = check_fit(network, good, "training data")
    assert reading.told.name == "token_classification"
    with pytest.raises(DataError, match="label"):
        check_fit(network, [good[0], (ids[1], ids[1])], "training data")


def test_an_input_that_is_not_finite_is_named_before_training() -> None:
    data = CASES["regression"].data(128)
    data[1][0][17, 2] = torch.nan
    message = "The output for example 17 of batch 1 of the training data is not finite"
    with pytest.raises(DataError, match=message):
        check_fit(CASES["regression"].build(), data, "training data")


def test_a_loss_that_is_not_finite_names_its_example() -> None:
    @tasks.register("logarithmic")
    class Logarithmic(tasks.get("regression")):  # type: ignore[misc]
        name = "logarithmic"

        def losses(self, values: Tensor, targets: Tensor) -> Tensor:
            return (values - targets.to(values).log()).square().mean(1)

    try:
        data = [(x, y.abs() + 0.1) for x, y in CASES["regression"].data(64, size=16)]
        data[2][1][11] = -1.0
        space = onefold.Subspace(CASES["regression"].build(), "line", seed=0)
        scoring = Scoring("logarithmic")
        with pytest.raises(
            SubspaceError, match="in epoch 1, first at example 11 of batch 2; lower"
        ):
            train(fabric(), space, Epochs(lambda seed: data, 0), plan(data), None, nothing, scoring)
        rounds = Rounds(
            CASES["regression"].build(),
            lambda network: onefold.PersistentTraining(network, 8),
            lambda number: CASES["regression"].build(),
            lambda seed: Epochs(lambda own: data, seed),
            data,
            plan(data),
            "same",
            0,
            scoring,
        )
        with pytest.raises(PersistentError, match="first at example 11 of batch 2"):
            train_rounds(fabric(), rounds, runs_of(1, False), None, nothing)
    finally:
        tasks.unregister("logarithmic")
