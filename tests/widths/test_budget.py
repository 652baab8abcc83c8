"""Budgets are read as they are written, and refused in one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.errors import SettingError
from onefold.widths.budget import Budget, budget_of
from onefold.widths.costs import UNITS


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("1.5x", Budget(1.5)),
        (" 0.5 X ", Budget(0.5)),
        ("0.5x parameters", Budget(0.5, unit="parameters")),
        ("2e6 bytes", Budget(2e6, False, "bytes")),
        ("1000 multiply-adds", Budget(1000, False)),
    ],
)
def test_forms(text: str, budget: Budget) -> None:
    assert budget_of(text) == budget


@given(st.floats(1e-6, 1e12), st.booleans(), st.sampled_from(UNITS))
def test_what_is_written_is_read_again(number: float, relative: bool, unit: str) -> None:
    budget = Budget(float(f"{number:g}"), relative, unit)
    assert budget_of(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "factor of one network's"),
        ("half", "factor of one network's"),
        ("0x", "factor of one network's"),
        ("-1x", "factor of one network's"),
        ("1.2.3x", "factor of one network's"),
        ("1e999x", "factor of one network's"),
        ("1.5", "write '1.5x' for a factor"),
        ("1.5x parametres", "did you mean 'parameters'"),
    ],
)
def test_what_is_no_budget_is_refused(text: str, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        budget_of(text)
