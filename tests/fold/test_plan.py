"""The plan of a merge: every argument in its final form, and what cannot be."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from merge_defaults import MERGE_DEFAULTS
from small_networks import Plain, loader, members

import onefold
from onefold.alignment.matchers import CCA, Permutation
from onefold.errors import AlignmentError, DataError, MembersError, OnefoldError, SettingError
from onefold.fold import LeastSquares
from onefold.fold.average import average
from onefold.fold.network_fold import StateFold, as_fold
from onefold.fold.plan import MergePlan, plan_merge


def planned(**settings: Any) -> MergePlan[Any]:
    models = settings.pop("models", None) or members(Plain, 2)
    return plan_merge(models, settings.pop("data", loader()), **{**MERGE_DEFAULTS, **settings})


def test_names_and_numbers_become_objects() -> None:
    plan = planned(align="permutation", fold="least_squares", polish=2, weights=[3, 1])
    assert plan.align == Permutation()
    assert plan.fold == LeastSquares()
    assert plan.polish == onefold.Polish(passes=2)
    assert plan.weights == (0.75, 0.25)
    assert plan.named
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.seed = 1  # type: ignore[misc]


def test_the_default_aligns_only_for_a_fold_that_uses_it() -> None:
    assert planned().align == CCA()
    assert not planned().named
    assert planned(fold="least_squares").align is None
    assert planned(fold=LeastSquares(target="correlation")).align == CCA()
    assert planned(align="none").align is None


def test_an_ensemble_reaches_fold_and_polish() -> None:
    plan = planned(fold="least_squares", ensemble="probabilities", polish=1)
    assert plan.fold == LeastSquares(ensemble="probabilities")
    assert plan.goal == "probabilities"
    assert planned(polish=onefold.Polish(ensemble="probabilities")).goal == "probabilities"
    assert planned(polish=1).goal == "logits"


def test_repair_is_none_by_default_behind_folds_that_need_none() -> None:
    assert planned(fold="least_squares").repair == "none"
    assert planned(fold="least_squares", repair="full").repair == "full"
    assert planned().repair == "auto"


def test_an_alignment_brings_its_reference() -> None:
    models = members(Plain, 2)
    found = onefold.align(models, loader(), method="permutation", reference=1)
    plan = planned(models=models, align=found)
    assert plan.reference == plan.base == 1
    with pytest.raises(AlignmentError, match="computed for 2 members but 3 were given"):
        planned(models=members(Plain, 3), align=found)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"align": "cka"}, SettingError, "no matcher named 'cka'; did you mean 'cca'"),
        ({"align": CCA}, SettingError, "not the class CCA"),
        ({"align": 3}, SettingError, "A matcher is a name or an instance"),
        ({"fold": LeastSquares}, SettingError, r"write LeastSquares\(\)"),
        ({"fold": None}, SettingError, "A fold is a name or an instance"),
        ({"repair": None}, SettingError, "no repair None"),
        ({"polish": -1}, SettingError, "polish is -1"),
        ({"reference": 2}, MembersError, "numbered 0 to 1"),
        ({"weights": [1.0]}, MembersError, "1 weights were given for 2 members"),
        ({"ensemble": "votes", "polish": 1}, SettingError, "no ensemble by 'votes'"),
        ({"fold": "average", "ensemble": "probabilities"}, SettingError, "aims at no ensemble"),
        ({"data": None}, SettingError, "reads the members' predictions on unlabelled data"),
        ({"data": None, "fold": "average"}, SettingError, "need calibration data"),
        ({"data": iter(())}, DataError, "an iterator"),
        ({"data": torch.zeros(2)}, DataError, "single tensor"),
        ({"validation": iter(())}, DataError, "validation data is an iterator"),
    ],
)
def test_what_cannot_be_is_said_before_anything_slow(
    settings: dict[str, Any],
    error: type[OnefoldError],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.export.export", lambda *a, **k: pytest.fail("it was traced"))
    with pytest.raises(error, match=message):
        planned(**settings)


def test_a_function_is_a_fold() -> None:
    def first(states: Any, weights: Any, *, reference: int) -> Any:
        return {name: value.clone() for name, value in states[reference].items()}

    models = members(Plain, 2)
    result = onefold.merge(models, loader(), align="none", repair="none", fold=first)
    assert result.report.fold == "first"
    for name, value in models[0].state_dict().items():
        assert torch.equal(result.model.state_dict()[name], value)
    assert isinstance(as_fold(average), StateFold)
    assert as_fold("average").name == "average"
