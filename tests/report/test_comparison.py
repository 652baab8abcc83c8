"""Comparison tables state units and raw numbers; verdicts claim what two standard errors allow."""

from __future__ import annotations

import math

import pytest
from report_figures import scores

from onefold.errors import DataError
from onefold.measure import Scores
from onefold.report import Candidate, comparison_table, verdict


def test_comparison_table_states_units_and_raw_numbers() -> None:
    broken = Scores.of_classifier(0.1, math.inf, 0.9, 1.8, 1000, nonfinite=3)
    table = comparison_table(
        [
            ("best member", scores(0.9123), 4242, 1.0, ""),
            Candidate("folded", broken, 4242, 1, "pretend"),
        ],
        emphasis=["folded"],
    )
    assert table.headings[:5] == (
        "network",
        "accuracy (%)",
        "standard error (points)",
        "NLL (nats)",
        "ECE (%, 15 equal-width bins)",
    )
    assert table.rows[0][1] == pytest.approx(91.23)
    assert table.plain()[0][:4] == ["best member", "91.23", "0.89", "0.5000"]
    assert table.rows[1][3] == "inf"
    assert table.rows[1][-1] == "pretend; 3 examples with non-finite outputs, counted as wrong"
    assert table.emphasis == (1,)
    with pytest.raises(DataError, match="different bins"):
        comparison_table(
            [
                Candidate("a", scores(0.9), 1, 1),
                Candidate("b", Scores.of_classifier(0.9, 1, 0, 0, 10, bins=20), 1, 1),
            ]
        )


def test_verdict_claims_only_what_two_standard_errors_allow() -> None:
    def candidate(name: str, accuracy: float) -> Candidate:
        return Candidate(name, scores(accuracy), 1, 1)

    text = verdict(
        candidate("folded network", 0.9),
        [candidate("average", 0.2), candidate("best member", 0.91), candidate("ensemble", 0.98)],
    )
    apart = "unpaired, as single answers were not kept"
    assert (
        text
        == "Folded network: more accurate than average by 70.00 percentage points (standard error"
        f" 1.58, {apart}); not clearly different from best member (-1.00 percentage points,"
        f" standard error 1.31, {apart}); less accurate than ensemble by 8.00 percentage points"
        f" (standard error 1.05, {apart})."
    )
