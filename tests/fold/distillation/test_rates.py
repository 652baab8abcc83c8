"""The rate: up over the warm-up, down to 0, along a line or a cosine."""

from __future__ import annotations

from itertools import pairwise

import pytest

from onefold.fold.distillation.rates import SCHEDULES, rate


def rates(schedule: str, warmup: float, total: int = 100) -> list[float]:
    return [rate(step, total, schedule, warmup) for step in range(total)]


def test_the_line_and_the_cosine() -> None:
    assert rates("linear", 0.0) == [1 - step / 100 for step in range(100)]
    cosine = rates("cosine", 0.0)
    assert cosine[0] == 1
    assert cosine[50] == pytest.approx(0.5)
    assert cosine[25] == pytest.approx(0.8535534)
    assert cosine[99] < 0.001


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_warm_up_rises_to_the_highest_rate(schedule: str) -> None:
    own = rates(schedule, 0.2)
    assert own[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert own[20] == 1.0
    assert all(a > b for a, b in pairwise(own[20:]))
    assert 0 < own[-1] < 0.02


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.99])
def test_few_steps(schedule: str, warmup: float) -> None:
    for total in (1, 2, 3):
        assert all(0 < value <= 1 for value in rates(schedule, warmup, total))
