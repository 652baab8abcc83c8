"""Whether the repair of an average without alignment is kept, and what is said of it."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Plain, loader, members, trained
from torch import Tensor, nn

import onefold
from onefold.fold.merge_report import CHOOSING
from onefold.fold.repair_choice import HELD, prefers_plain, told
from onefold.measure import score_logits
from onefold.measure.paired import difference

TEST = loader(512, seed=99, batch=128)


def states_equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def labels_of(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """The test images with the labels that this network gives them."""
    with torch.no_grad():
        return [(images, model(images).argmax(1)) for images, _ in TEST]


@pytest.fixture(scope="module")
def strangers() -> list[nn.Module]:
    return members(Plain, 2)


def test_without_labels_the_repair_stays_and_is_said(strangers: list[nn.Module]) -> None:
    found = onefold.merge(strangers, loader(), align="none", fold="average")
    full = onefold.merge(strangers, loader(), align="none", fold="average", repair="full")
    assert states_equal(found.model, full.model)
    assert found.notes.count(HELD) == 1
    assert HELD not in full.notes  # what was asked for by name is carried out and not discussed


@pytest.mark.parametrize("wanted", ["none", "full"])
def test_labels_decide(strangers: list[nn.Module], wanted: str) -> None:
    by_name = onefold.merge(strangers, loader(), align="none", fold="average", repair=wanted).model
    found = onefold.merge(
        strangers, loader(), align="none", fold="average", validation=labels_of(by_name)
    )
    assert states_equal(found.model, by_name)
    assert (found.report.repair == "none") == (wanted == "none")
    assert bool(found.report.repaired) == (wanted == "full")
    (note,) = [note for note in found.notes if "were not aligned was" in note]
    assert "512 validation examples" in note
    assert ("was not repaired" in note) == (wanted == "none")
    assert found.report.used[CHOOSING] == 512


def test_a_tie_keeps_the_repair(strangers: list[nn.Module]) -> None:
    """One answer more is no lead, and the repair helps more often than not."""
    score = onefold.evaluate(strangers[0], TEST)
    assert not prefers_plain(difference(score, score))
    assert "was repaired" in told(difference(score, score))
    labels = torch.zeros(100, dtype=torch.long)
    right = torch.tensor([[1.0, 0.0]]).repeat(100, 1)
    wrong_once = right.clone()
    wrong_once[0] = torch.tensor([0.0, 1.0])
    one_more = difference(score_logits(right, labels), score_logits(wrong_once, labels))
    assert one_more.gain > 0
    assert not prefers_plain(one_more)


def test_nothing_is_said_where_nothing_was_repaired() -> None:
    member = trained(Plain, 3)
    twins = [member, copy.deepcopy(member)]
    assert not [
        note
        for note in onefold.merge(twins, loader(), align="none", fold="average").notes
        if note == HELD
    ]


def test_what_was_aligned_is_not_discussed(strangers: list[nn.Module]) -> None:
    found = onefold.merge(strangers, loader(), align="permutation", fold="average", validation=TEST)
    assert found.report.repair == "auto"
    assert not [note for note in found.notes if "were not aligned" in note]
