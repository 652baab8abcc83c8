"""The benchmark of polish: its plans are settings, and its table tells what is noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.polish.members import polish_groups
from benchmarks.polish.run import PLANS
from benchmarks.polish.table import chosen, lines
from onefold.fold import Polish


def scores(choices: float, gain: float, error: float = 0.3) -> dict[str, Any]:
    test = {"accuracy": 80.0, "nll": 0.5, "gain": gain, "error": error}
    return {"choices": {"accuracy": choices}, "test": test}


def record(whole: float) -> dict[str, Any]:
    rows = {"3 passes at 1e-4": scores(81.0, 0.25), "10 passes at 1e-3": scores(81.0, 1.0)}
    return {
        "members": [scores(79.0, 0.0), scores(80.0, 0.0)],
        "best": 1,
        "ensemble": scores(82.0, whole),
        "polished": {"best member": rows},
    }


def test_plans_are_settings() -> None:
    for plan, fields in PLANS.items():
        assert Polish(**fields).passes == int(plan.split()[0])


def test_the_table_marks_what_the_choices_take_and_leaves_out_shares_of_noise() -> None:
    assert chosen(record(2.0), "best member") == "3 passes at 1e-4"  # the earlier one on a tie
    assert chosen(record(2.0), "fold") is None
    shown = lines("vgg11, same", record(2.0))
    assert "| 3 passes at 1e-4 * | +0.3 ± 0.3 | 12 |  | 0.500 |" in shown
    assert "| 10 passes at 1e-3 | +1.0 ± 0.3 | 50 |  | 0.500 |" in shown
    assert "| 10 passes at 1e-3 | +1.0 ± 0.3 |  |  | 0.500 |" in lines("vgg11, same", record(0.6))


def test_brief_members_lie_where_they_were_trained(tmp_path: Path) -> None:
    groups = polish_groups(tmp_path)
    assert groups["vgg11, halves"].missing == ["brief-vgg11-halves-0", "brief-vgg11-halves-1"]
    assert not groups["small, same"].missing
