"""The verdicts of benchmarks/default/table.py: what is counted, and when the promise is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.default.record import keep, kept
from benchmarks.default.table import compare, counted, rows_of, show, verdict


def group(kind: str, gain: float, error: float, best: float, choice: str = "a") -> dict[str, Any]:
    case = {"draws": [{"choice": choice}], "gain": gain, "error": error, "baseline": 80.0}
    return {
        "kind": kind,
        "members": [80.0, 81.0],
        "without": case,
        "with": case,
        "ensembles": {"probabilities": {"test": 82.0}},
        "candidates": {
            "best member": {"test": 99.0, "choices": 10.0},
            "fold": {"test": 80.0 + best, "choices": 11.0},
        },
    }


def told(*groups: dict[str, Any]) -> str:
    record = {f"group-{k}/0": found for k, found in enumerate(groups)}
    return " ".join(verdict(rows_of(record, "without")))


@pytest.mark.parametrize(("gain", "error", "kept"), [(-0.1, 0.06, True), (-0.11, 0.3, False)])
def test_the_mean_of_same_data_groups_is_judged(gain: float, error: float, kept: bool) -> None:
    assert ("NOT KEPT" not in told(group("same", gain, error, 0))) == kept


@pytest.mark.parametrize(("gain", "kept"), [(-0.19, True), (-0.21, False)])
def test_a_group_below_two_standard_errors_is_told(gain: float, kept: bool) -> None:
    words = told(group("same", gain, 0.1, 0), group("same", 1.0, 0.1, 0))
    assert ("NOT KEPT" not in words) == kept
    assert f"the lowest group-0 at {gain / 0.1:+.1f}" in words


@pytest.mark.parametrize(("gain", "kept"), [(8.1, True), (7.9, False)])
def test_the_share_is_of_the_candidate_that_held_out_labels_choose(gain: float, kept: bool) -> None:
    words = told(group("different", gain, 0.05, 10))
    assert ("NOT KEPT" not in words) == kept
    assert ("group-0 +7.9 of +10.0" in words) != kept


def test_repeats_are_averaged_and_errors_shrink() -> None:
    record = {"x/0": group("same", 1.0, 0.3, 2), "x/1": group("same", 0.0, 0.4, 4)}
    (row,) = rows_of(record, "with")
    assert row.gain == pytest.approx(0.5)
    assert row.error == pytest.approx(0.25)
    assert row.best == pytest.approx(3.0)


def test_choices_of_members_are_counted_together() -> None:
    assert counted(["member 0", "member 3"]) == "a member"
    assert counted(["member 0", "average", "member 3"]) == "2 a member; 1 average"


def test_a_merge_that_failed_is_counted_and_gives_no_gain(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = group("same", 0.0, 0.0, 0)
    failed["without"] = {"draws": [{"error": "member 1 has no layers."}]}
    show({"x/0": failed, "y/0": group("same", 1.0, 0.1, 0)})
    out = capsys.readouterr().out
    assert "| x | same | 81.0 | 82.0 | an error | +0.00" in out
    assert "1 merges ended in an error." in out


def test_two_runs_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = {"x/0": group("same", -3.0, 1, 0)}, {"x/0": group("same", 0.5, 1, 0)}
    compare(before, after)
    assert "| x | same | -3.00 | +0.50 | -3.00 | +0.50 |" in capsys.readouterr().out


def test_a_record_is_read_back_as_it_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "record.json"
    record = {"x/0": group("same", 0.5, 0.1, 2), "y/1": {"kind": "broken", "words": 'a "b"'}}
    assert kept(path) == {}
    keep(record, path)
    assert kept(path) == record
    assert len(path.read_text().splitlines()) == 4
    with pytest.raises(ValueError, match="JSON"):
        keep({"x/0": {"gain": float("nan")}}, path)
    assert kept(path) == record
