"""The output of an ensemble by hand, for every kind of mean."""

from __future__ import annotations

import math

import pytest
import torch

from onefold.ensemble.mean import mean_output
from onefold.ensemble.pool import mean_pool
from onefold.errors import SettingError

# Probabilities (3/4, 1/4) and (1/4, 3/4); the second member is twice as sure in its logits.
ROWS = [torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 2 * math.log(3.0)]])]


@pytest.mark.parametrize("ensemble", ["logits", "outputs"])
def test_tensors_are_averaged(ensemble: str) -> None:
    expected = torch.tensor([[math.log(3.0) / 2, math.log(3.0)]])
    torch.testing.assert_close(mean_output(ROWS, ensemble), expected)  # type: ignore[arg-type]


def test_probabilities_are_averaged_and_come_back_as_logarithms() -> None:
    expected = torch.tensor([[(3 / 4 + 1 / 10) / 2, (1 / 4 + 9 / 10) / 2]])
    torch.testing.assert_close(mean_output(ROWS, "probabilities").exp(), expected)
    assert mean_output(ROWS, "probabilities").argmax() == mean_output(ROWS, "logits").argmax() == 1


def test_a_pool_without_preferences_is_the_mean_of_probabilities() -> None:
    found = mean_output(ROWS, mean_pool([1.0, 1.0])).softmax(-1)
    torch.testing.assert_close(found, mean_output(ROWS, "probabilities").exp())
    alone = mean_output(ROWS, mean_pool([1.0, 0.0])).softmax(-1)
    torch.testing.assert_close(alone, ROWS[0].softmax(-1))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_row_that_is_not_finite_in_one_member_is_nan_and_the_others_stay(broken: float) -> None:
    rows = [row.repeat(2, 1) for row in ROWS]
    rows[1][0, 0] = broken
    found = mean_output(rows, "probabilities")
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1:], mean_output(ROWS, "probabilities"))


def test_classes_may_lie_behind_any_number_of_axes() -> None:
    deep = [row.expand(3, 2, 2) for row in ROWS]
    found = mean_output(deep, "probabilities")
    assert found.shape == (3, 2, 2)
    torch.testing.assert_close(found[1, 1:], mean_output(ROWS, "probabilities"))


def test_a_pool_of_other_members_is_refused() -> None:
    with pytest.raises(SettingError):
        mean_output(ROWS, mean_pool([1.0, 1.0, 1.0]))
