"""Hints where an accuracy is near chance: what gives the confusion away, and where nothing is to be
said.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.measure import Scores, evaluate, evaluate_all, score_logits
from onefold.report import Candidate, Report, comparison_table
from onefold.tasks.chance import MOST, AnswerCounts

CLASSES, EACH = 5, 80
ORDER = torch.tensor([3, 0, 4, 1, 2])  # what the networks call the classes 0 to 4 of the data


class Nearest(nn.Module):
    """A classifier of points around centres, in inputs of mean 0 and deviation 1; `order`: its own
    numbers of the classes.
    """

    def __init__(self, order: Tensor | None = None, classes: int = CLASSES) -> None:
        super().__init__()
        centres = (
            nn.functional.normalize(
                torch.randn(classes, 12, generator=torch.Generator().manual_seed(0)), dim=1
            )
            * 12**0.5
        )
        rows = torch.zeros_like(centres)
        rows[order if order is not None else torch.arange(classes)] = centres
        self.centres = nn.Parameter(rows)

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(x, self.centres)


def data(noise: float = 0.3, classes: int = CLASSES) -> list[tuple[Tensor, Tensor]]:
    y = torch.arange(classes).repeat(EACH)
    x = Nearest(classes=classes).centres.detach()[y] + noise * torch.randn(
        len(y), 12, generator=torch.Generator().manual_seed(1)
    )
    return list(zip(x.split(64), y.split(64), strict=True))


def changed(
    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> list[tuple[Tensor, Tensor]]:
    return [change(x, y) for x, y in data()]


def test_a_sound_network_has_no_hint() -> None:
    found = evaluate(Nearest(), data())
    assert found.accuracy > 0.95
    assert (found.hint, found.renumbered) == ("", None)
    assert "chance" not in str(found)


@pytest.mark.parametrize("where", ["data", "head"])
def test_classes_in_another_order_are_named(where: str) -> None:
    """Folders in another order, or a head whose rows are: the numbering that fits is the one that
    was used.
    """
    network = Nearest(ORDER) if where == "head" else Nearest()
    found = evaluate(
        network, data() if where == "head" else changed(lambda x, y: (x, ORDER.argsort()[y]))
    )
    assert found.accuracy < 0.05
    assert found.renumbered == tuple(ORDER.tolist())
    assert found.hint.startswith("near chance (")
    assert "check the order of the classes, the mean and deviation of the inputs" in found.hint
    assert "label -> answer 0 -> 3, 1 -> 0, 2 -> 4, 3 -> 1, 4 -> 2, would make" in found.hint
    assert found.hint in str(found)


def test_labels_that_count_from_one_are_named() -> None:
    network, wider = Nearest(), Nearest(classes=CLASSES + 1)
    with torch.no_grad():
        wider.centres[:CLASSES], wider.centres[CLASSES] = network.centres, 100.0
    found = evaluate(wider, changed(lambda x, y: (x, y + 1)))
    assert "every label is 1 above its answer" in found.hint
    with pytest.raises(
        onefold.OnefoldError,
        match=r"range from 1 to 5, but the network has 5 classes, numbered 0 to 4.*subtract 1",
    ):
        evaluate(
            network, [(torch.cat([x for x, _ in data()]), torch.cat([y + 1 for _, y in data()]))]
        )


def test_two_swapped_classes_are_named_though_the_accuracy_is_far_from_chance() -> None:
    found = evaluate(Nearest(), changed(lambda x, y: (x, torch.tensor([1, 0, 2, 3, 4])[y])))
    assert 0.5 < found.accuracy < 0.7
    assert found.renumbered == (1, 0, 2, 3, 4)
    assert "near chance" not in found.hint
    assert "the order of the classes may differ" in found.hint


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda x, y: ((128 + 40 * x).clamp(0, 255), y),
            "(here 132 and 42.1, from 8.85 to 242)",
        ),  # pixels of 0 to 255
        (lambda x, y: (0.5 + 0.001 * x, y), "(here 0.5 and 0.001"),
        (lambda x, y: (x + 40, y), "(here 40"),
    ],
    ids=["bytes", "flat", "shifted"],
)
def test_inputs_of_another_scale_are_told(
    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], told: str
) -> None:
    lost = nn.Linear(12, CLASSES)
    nn.init.zeros_(lost.weight)
    assert told in evaluate(lost, changed(change)).hint
    assert "(here" not in evaluate(lost, data()).hint


def test_answers_that_lean_to_one_class_and_outputs_that_are_equal_are_told() -> None:
    leaning = Nearest()
    with torch.no_grad():
        leaning.centres[2] = 0.0  # nearest to nearly all where the others are far off
        leaning.centres[[0, 1, 3, 4]] *= 3
    found = evaluate(leaning, data())
    assert "% of the answers are class 2, which 20 % of the labels are" in found.hint
    constant = nn.Linear(12, CLASSES)
    nn.init.zeros_(constant.weight)
    assert "all outputs are equal, whatever the input" in evaluate(constant, data()).hint
    assert "all outputs are equal" not in found.hint


def test_chance_is_the_share_of_the_commonest_class() -> None:
    labels = torch.cat([torch.zeros(900, dtype=torch.long), torch.ones(100, dtype=torch.long)])
    always = torch.tensor([1.0, 0.0]).expand(1000, 2)
    found = score_logits(always, labels)
    assert found.accuracy == 0.9
    assert "always answering the commonest class is right in 90.0 %" in found.hint
    better = always.clone()
    better[900:960] = torch.tensor([0.0, 1.0])
    assert score_logits(better, labels).hint == ""
    one = torch.zeros(50, dtype=torch.long)
    assert score_logits(always[:50], one).hint == ""  # data of one class say nothing of chance
    assert (
        score_logits(always[:6], torch.tensor([0, 1, 0, 1, 0, 1])).hint == ""
    )  # nor do six examples


@pytest.mark.parametrize("classes", [5, 100])
def test_chance_makes_no_numbering_look_good(classes: int) -> None:
    """Of 100 classes and 200 examples the best numbering of random answers fits most of them, on
    the examples it is taken from.
    """
    generator = torch.Generator().manual_seed(2)
    for _ in range(5):
        logits, labels = (
            torch.randn(200, classes, generator=generator),
            torch.randint(classes, (200,), generator=generator),
        )
        found = score_logits(logits, labels)
        assert found.renumbered is None
        assert "near chance" in found.hint


def test_memory_is_bounded_for_many_classes() -> None:
    answers = AnswerCounts()
    logits, labels = torch.randn(64, MOST + 1), torch.randint(MOST + 1, (64,))
    answers.add(logits, logits.argmax(1), labels)
    assert answers.pairs == []
    assert "near chance" in answers.hint()[0]
    evaluate(nn.Linear(12, MOST), [(torch.randn(30, 12), torch.randint(MOST, (30,)))])


def test_names_of_classes_stand_beside_their_numbers() -> None:
    class Loader(list):  # type: ignore[type-arg]
        class_names = ("ant", "bee", "cow", "dog", "eel")

    found = evaluate(Nearest(ORDER), Loader(data()))
    assert "0 'ant' -> 3, 1 'bee' -> 0" in found.hint


def test_tables_reports_and_paths_say_it() -> None:
    wrong, sound = evaluate(Nearest(ORDER), data()), evaluate(Nearest(), data())
    lost = evaluate(
        nn.Linear(12, CLASSES).requires_grad_(False), [(torch.zeros_like(x), y) for x, y in data()]
    )
    table = comparison_table(
        [
            Candidate("member 0", sound, 1, 1.0),
            Candidate("plain average", lost, 1, 1.0, "not aligned"),
        ]
    )
    assert table.rows[1][-1] == "not aligned; near chance"
    assert table.caption == ""  # the data suit another network
    table = comparison_table(
        [Candidate("member 0", sound, 1, 1.0), Candidate("member 1", wrong, 1, 1.0)]
    )
    assert table.caption.startswith("Member 1: near chance")
    table = comparison_table([Candidate("a.pt", lost, 1, 1.0), Candidate("b.pt", lost, 1, 1.0)])
    assert table.caption.startswith("No network here is better than chance; a.pt")
    report = Report(title="t")
    report.section("s").table(table)
    assert "No network here is better than chance" in report.to_html()
    everything = evaluate_all([Nearest(ORDER), Nearest(ORDER)], data())
    assert str(everything).count("near chance") == 3
    assert json.loads(json.dumps(everything.to_dict()))["members"][0]["hint"] == wrong.hint
    assert Scores.from_dict(json.loads(json.dumps(wrong.to_dict()))) == wrong
    assert (
        Scores.from_dict(
            {
                key: value
                for key, value in sound.to_dict().items()
                if key not in ("hint", "renumbered")
            }
        )
        == sound
    )
    assert "near chance" in str(onefold.barrier(Nearest(ORDER), Nearest(), data(), points=3))


def test_a_member_in_training_mode_is_scored_as_it_answers_in_use() -> None:
    network = nn.Sequential(Nearest(), nn.Dropout(0.999)).train()
    assert evaluate(network, data()).hint == ""
    assert network.training
