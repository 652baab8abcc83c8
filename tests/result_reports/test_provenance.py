"""A report's date and command line, and times in words."""

from __future__ import annotations

import pytest

from onefold.report import Report
from onefold.result_reports.provenance import (
    command_line,
    duration,
    seconds_facts,
    settings_facts,
    stamp,
)


def test_the_date_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    report = stamp(Report(title="t"))
    assert report.date == "1970-01-02"
    assert report.command == ""  # the tests are no command of onefold
    assert "2 January 1970" in report.to_html()


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["/usr/bin/onefold", "merge", "a b", "-o", "c"], "onefold merge 'a b' -o c"),
        (["lib/onefold/__main__.py", "demo"], "onefold demo"),
        (["/usr/bin/pytest", "onefold"], ""),
        (["other/__main__.py"], ""),
        ([], ""),
    ],
)
def test_the_command_line_is_that_of_onefold_alone(arguments: list[str], command: str) -> None:
    assert command_line(arguments) == command


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(6.5e-6, "less than 0.1 s"), (2.34, "2.3 s"), (61.0, "1 min 1 s"), (7260.0, "2 h 1 min")],
)
def test_times_have_no_more_digits_than_one_reads(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_of_phases_are_one_fact_and_settings_are_words() -> None:
    found = seconds_facts({"trace": 1.0, "solve": 3.0, "repair": 1e-6})
    assert found == {"time": "4.0 s (trace 1.0 s, solve 3.0 s)"}
    assert seconds_facts({}) == {}
    assert settings_facts({"share": 0.3, "batch_size": 8}) == {
        "held-out share of the labelled data": 0.3,
        "batch size": 8,
    }
