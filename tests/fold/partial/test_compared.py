"""Partial merges are scored beside the members and the whole fold, and say which is better."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_networks import Plain, loader, members
from torch import Tensor, nn

import onefold
from onefold.fold.partial.compared import CUT, WHOLE, Compared, compare
from onefold.measure.paired import difference

TEST = loader(512, seed=99, batch=128)


@pytest.fixture(scope="module")
def models() -> list[nn.Module]:
    return members(Plain, 2)


def cut_at(models: list[nn.Module], **more: Any) -> onefold.fold.PartialResult:
    return onefold.partial_merge(models, loader(), until="conv2", align="permutation", **more)


def labels_of(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    with torch.no_grad():
        return [(images, model(images).argmax(1)) for images, _ in TEST]


def test_scores_are_those_of_the_networks(models: list[nn.Module]) -> None:
    result = cut_at(models, validation=TEST)
    found = result.report.compared
    assert found is not None
    whole = onefold.merge(models, loader(), align="permutation", fold="average").model
    scores = {f"member {k}": onefold.evaluate(model, TEST) for k, model in enumerate(models)}
    scores |= {WHOLE: onefold.evaluate(whole, TEST), CUT: onefold.evaluate(result.model, TEST)}
    assert found.scores == {name: score.accuracy for name, score in scores.items()}
    assert found.examples == 512
    assert set(found.gains) == {found.best, WHOLE}
    for name, gain in found.gains.items():
        assert gain == difference(scores[CUT], scores[name]).to_dict()
    assert "on 512 labelled examples of the validation data" in found.notes[0]
    assert found.notes[0] in result.report.warnings
    assert f"{100 * scores[CUT].accuracy:.2f} %" in found.notes[0]


@pytest.mark.parametrize("better", ["member 1", WHOLE])
def test_a_cut_that_is_worse_is_said(models: list[nn.Module], better: str) -> None:
    whole = onefold.merge(models, loader(), align="permutation", fold="average").model
    judged = labels_of(whole if better == WHOLE else models[1])
    result = cut_at(models, validation=judged)
    (told,) = [note for note in result.report.warnings if "is worse than" in note]
    assert better in told
    assert "behind 'conv2'" in told


def test_the_labels_of_the_data_serve_and_none_are_needed(models: list[nn.Module]) -> None:
    found = cut_at(models).report.compared
    assert found is not None
    assert found.source == "the calibration data"
    assert found.examples == 256
    images = [x for x, _ in loader()]
    bare = onefold.partial_merge(models, images, until="conv2", align="permutation")
    assert bare.report.compared is None
    assert not [note for note in bare.report.warnings if "labelled examples" in note]


def test_members_that_answer_one_by_one_are_not_compared(models: list[nn.Module]) -> None:
    assert cut_at(models, outputs="members").report.compared is None


def test_a_cut_that_is_level_is_said_to_cost_more(models: list[nn.Module]) -> None:
    partial = cut_at(models).model
    found = compare(models, partial, partial, loader(), TEST, None)
    assert isinstance(found, Compared)
    assert found.gains[WHOLE]["gain"] == 0
    assert any("is level with" in note and WHOLE in note for note in found.notes)


def test_labels_that_cannot_be_scored_are_no_error(models: list[nn.Module]) -> None:
    odd = [(x, torch.full_like(y, 77)) for x, y in loader()]
    result = onefold.partial_merge(models, odd, until="conv2", align="permutation")
    assert result.report.compared is None
    assert any("was not compared" in note for note in result.report.warnings)
