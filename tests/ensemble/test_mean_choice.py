"""Which mean of classifiers least squares aims at if nobody says so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.ensemble.mean_choice import LOGITS, MOST, choose_mean, evener
from onefold.inference import ANY, Output

CLASSES = 4


class Scaled(nn.Module):
    """Logits that say one of some classes with a given loudness; the others are ruled out.

    An input is the one-hot class of its example, and noise.
    """

    def __init__(self, known: list[int], loudness: float, ruled_out: float) -> None:
        super().__init__()
        weight = torch.zeros(CLASSES, CLASSES)
        for c in range(CLASSES):
            guess = c if c in known else known[c % len(known)]
            weight[:, c] = -ruled_out
            weight[known, c] = 0.0
            weight[guess, c] = loudness
        self.head = nn.Linear(CLASSES, CLASSES)
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


def inputs(count: int = 200, labelled: bool = False) -> list[Tensor] | list[tuple[Tensor, Tensor]]:
    labels = torch.arange(count) % CLASSES
    generator = torch.Generator().manual_seed(0)
    x = nn.functional.one_hot(labels, CLASSES).float()
    x = x + 0.05 * torch.randn(x.shape, generator=generator)
    if labelled:
        return list(zip(x.split(50), labels.split(50), strict=True))
    return list(x.split(50))


def loud() -> list[nn.Module]:
    """One member says what it knows softly, the other shouts about classes 0 and 1 whatever comes.

    The mean of logits says 0 or 1 of everything.
    """
    quiet, shouting = Scaled([0, 1, 2, 3], 3.0, 0.0), Scaled([0, 1], 2.0, 12.0)
    return [quiet, shouting]


def test_a_loud_member_moves_the_aim_to_probabilities() -> None:
    with torch.no_grad():
        loud_logits = sum(m(torch.eye(CLASSES)) for m in loud()) / 2
    assert loud_logits.argmax(1).tolist() == [0, 1, 0, 1]
    quiet, shouting = loud()
    chosen = choose_mean([quiet, shouting], inputs(labelled=True), ANY, (0.7, 0.3))
    assert chosen.classifiers
    assert chosen.name == "probabilities"
    assert chosen.uneven[1] < chosen.uneven[0] - 0.02
    assert "probabilities" in chosen.notes[0]
    assert "200 examples" in chosen.notes[0]


def test_members_that_agree_keep_the_mean_of_logits() -> None:
    member = Scaled([0, 1, 2, 3], 3.0, 0.0)
    chosen = choose_mean([member, member], inputs(labelled=True), ANY, (0.5, 0.5))
    assert (chosen.name, chosen.classifiers, chosen.examples) == ("logits", True, 200)
    assert chosen.notes == []


def test_members_of_different_classes_are_told_of_the_pool() -> None:
    models = [Scaled([0, 1], 6.0, 6.0), Scaled([2, 3], 6.0, 6.0)]
    chosen = choose_mean(models, inputs(labelled=True), ANY, (0.5, 0.5))
    assert chosen.variation > 0.9
    assert any("ensemble='classes'" in note for note in chosen.notes)


def regressors(signs: list[float]) -> list[nn.Module]:
    """Networks of independent outputs, whose means differ."""
    found = []
    for sign in signs:
        torch.manual_seed(0)
        model = nn.Linear(CLASSES, CLASSES)
        with torch.no_grad():
            model.weight.copy_(torch.eye(CLASSES) * 4)
            model.bias.copy_(sign * torch.tensor([6.0, 0.0, 0.0, 0.0]))
        found.append(model)
    return found


def test_outputs_that_move_together_are_no_classes() -> None:
    generator = torch.Generator().manual_seed(1)
    data = list(torch.randn(400, CLASSES, generator=generator).split(100))
    assert choose_mean(regressors([1.0, -1.0]), data, ANY, (0.5, 0.5)) == LOGITS


@pytest.mark.parametrize(
    "labels",
    [torch.randn(50), torch.randn(50, CLASSES), torch.zeros(50, 2, dtype=torch.int64)],
    ids=["real numbers", "vectors", "several for each example"],
)
def test_labels_that_are_no_classes_keep_the_mean_of_outputs(labels: Tensor) -> None:
    data = [(x, labels) for x in inputs()]
    assert choose_mean(loud(), data, ANY, (0.7, 0.3)) == LOGITS


def test_too_few_examples_say_nothing_of_shares() -> None:
    few = [(x[:4], y[:4]) for x, y in inputs(labelled=True)]
    assert choose_mean(loud(), few, ANY, (0.7, 0.3)) == LOGITS


def test_a_class_axis_that_is_said_stands_for_labels() -> None:
    chosen = choose_mean(loud(), inputs(), Output(class_axis=1), (0.7, 0.3))
    assert chosen.name == "probabilities"


def test_no_more_examples_are_read_than_are_needed() -> None:
    read = []

    class Counted:
        def __iter__(self):  # type: ignore[no-untyped-def]
            for x, y in inputs(4 * MOST, labelled=True):
                read.append(len(x))
                yield x, y

    chosen = choose_mean(loud(), Counted(), ANY, (0.7, 0.3))
    assert chosen.examples == sum(read) == MOST


def test_least_squares_and_polish_take_what_was_chosen() -> None:
    data = inputs(400, labelled=True)
    weights = [0.7, 0.3]
    chosen = onefold.merge(loud(), data, align="none", fold="least_squares", weights=weights)
    named = onefold.merge(
        loud(),
        data,
        align="none",
        fold=onefold.LeastSquares(ensemble="probabilities"),
        weights=weights,
    )
    for name, value in named.model.state_dict().items():
        assert torch.equal(chosen.model.state_dict()[name], value), name
    assert chosen.report.folded["ensemble"] == "probabilities"
    assert chosen.report.settings["fold"]["ensemble"] == "probabilities"
    assert sum("aims at the mean of the members' prob" in note for note in chosen.notes) == 1
    polished = onefold.merge(
        loud(), data, align="none", fold="least_squares", weights=weights, polish=1
    )
    assert polished.report.polished["ensemble"] == "probabilities"


@pytest.mark.parametrize(
    ("uneven", "variation", "chosen"),
    [
        ((0.30, 0.10), 0.5, "probabilities"),
        ((0.10, 0.30), 0.5, "logits"),
        ((0.10, 0.09), 0.5, "logits"),  # within what chance gives
        ((0.30, 0.10), 0.99, "logits"),  # members that share no class
    ],
)
def test_the_rule(uneven: tuple[float, float], variation: float, chosen: str) -> None:
    assert evener(uneven, variation) == chosen
