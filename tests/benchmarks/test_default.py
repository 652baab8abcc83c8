"""A small part of benchmarks/default: `onefold.merge(models, data)` as it comes does no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.default.groups import small_groups
from benchmarks.default.run import CASES, OTHERS, GroupRun
from benchmarks.default.table import in_errors

SAME, HALVES, DISJOINT = "digits-mlp/0", "halves-digits-cnn/0", "disjoint-digits-mlp/0"
NO_OTHERS: dict[str, Any] = {name: {} for name in OTHERS}  # no candidates are made


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the benchmark keeps of each group, whose members are trained here."""
    state: Path = tmp_path_factory.mktemp("members")
    groups = small_groups(repeats=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONEFOLD_DEFAULT_STATE", str(state))
        return {
            name: GroupRun(groups[name], {}).run(NO_OTHERS) for name in (SAME, HALVES, DISJOINT)
        }


@pytest.mark.parametrize("name", [SAME, HALVES, DISJOINT])
@pytest.mark.parametrize("case", CASES)
def test_the_default_is_not_below_the_baseline(name: str, case: str, found: dict[str, Any]) -> None:
    row = found[name][case]
    assert in_errors(row["gain"], row["error"]) >= -2
    assert all("choice" in draw for draw in row["draws"])


@pytest.mark.parametrize("case", CASES)
def test_a_gain_is_taken_where_members_know_different_classes(
    case: str, found: dict[str, Any]
) -> None:
    row = found[DISJOINT][case]
    assert row["gain"] > 10
    assert in_errors(row["gain"], row["error"]) > 4


@pytest.mark.parametrize("case", CASES)
def test_members_of_the_same_data_are_left_as_they_are(case: str, found: dict[str, Any]) -> None:
    assert all("member" in draw["choice"] for draw in found[SAME][case]["draws"])
