"""Plain data holds words where JSON has no number."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onefold.cli.console import print_json
from onefold.finite import finite
from onefold.fold.expected import expected_gain
from onefold.fold.merge_report import MergeReport
from onefold.fold.network_fold import plain
from onefold.measure.path import LinearPath
from onefold.measure.scores import Scores
from onefold.report import Report

NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
DATA = st.recursive(
    NUMBERS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.floats(), inner)
    ),
)


@given(DATA)
def test_any_plain_data_can_be_written(data: object) -> None:
    json.dumps(finite(data), allow_nan=False)


@given(st.recursive(st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists))
def test_what_is_finite_stays(data: object) -> None:
    assert finite(data) == data


def test_what_is_not_finite_becomes_a_word() -> None:
    given_data = {"a": [math.inf, (-math.inf, {"b": math.nan})]}
    assert finite(given_data) == {"a": ["inf", ("-inf", {"b": "nan"})]}
    assert math.isinf(given_data["a"][0]), "the data that was given has changed"


def test_every_way_out_writes_words(capsys: pytest.CaptureFixture[str]) -> None:
    report = MergeReport(
        align="none", fold="least-squares", repair="none", members=2, reference=0,
        weights=(0.5, 0.5), examples=1, parameters=1,
    )  # fmt: skip
    report.folded = {"layers": [{"ridge": math.inf}]}
    assert report.to_dict()["folded"] == {"layers": [{"ridge": "inf"}]}
    assert json.loads(Report(title="r", data={"x": [math.nan]}).to_json())["data"] == {"x": ["nan"]}

    one = expected_gain(torch.tensor([0.5]), torch.tensor([0.25]))
    assert one.to_dict() == {"gain": 0.25, "error": "inf", "n": 1}
    assert plain(math.inf) == "inf"
    print_json({"x": math.inf})
    assert json.loads(capsys.readouterr().out) == {"x": "inf"}


def test_scores_and_paths_of_broken_networks_can_be_written() -> None:
    good, broken = (
        Scores.of_classifier(0.5, 0.7, 0.1, 0.5, 10),
        Scores.of_classifier(0.1, math.inf, math.nan, 2.0, 10),
    )
    path = LinearPath((0.0, 0.5, 1.0), (good, broken, good))
    assert math.isinf(path.barrier)
    for one in (broken, path):
        json.dumps(one.to_dict(), allow_nan=False)
    assert path.to_dict()["barrier"] == "inf"
    back = Scores.from_dict(json.loads(json.dumps(broken.to_dict())))
    assert math.isinf(back.nll)
    assert math.isnan(back.ece)
