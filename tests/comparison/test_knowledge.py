"""What predictions tell of what networks know: shares, agreement, distance to the ensemble."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from onefold.comparison.knowledge import knowledge_of, off_ensemble
from onefold.comparison.predictions import Predictions


def told(*answers: list[int], classes: int = 3, sure: float = 6.0) -> Predictions:
    """Networks that answer these classes, with logits of `sure` for them and 0 else."""
    one_hot = torch.nn.functional.one_hot
    rows = tuple(sure * one_hot(torch.tensor(a), classes).float() for a in answers)
    return Predictions(rows, True, len(answers[0]))


def test_equal_networks_are_not_apart() -> None:
    seen = knowledge_of(told([0, 1, 2, 0], [0, 1, 2, 0]), 2)
    assert seen.apart == pytest.approx(0.0, abs=1e-12)
    assert seen.agreement is not None
    assert seen.agreement.tolist() == [[1, 1], [1, 1]]
    assert seen.off.abs().max() < 1e-6
    assert seen.sure is not None
    assert bool(seen.sure.isnan().all())  # no member is ever alone in its answer


def test_shares_tell_a_shift_and_not_a_swap() -> None:
    swapped = knowledge_of(told([0, 1, 0, 1], [1, 0, 1, 0]), 2)
    shifted = knowledge_of(told([0, 0, 0, 0], [1, 1, 1, 1]), 2)
    for seen in (swapped, shifted):
        assert seen.agreement is not None
        assert float(seen.agreement[0, 1]) == 0
    assert swapped.apart == pytest.approx(0.0, abs=1e-12)
    one = math.exp(6) / (math.exp(6) + 2)
    assert shifted.apart == pytest.approx(one - (1 - one) / 2, rel=1e-6)


def test_the_nearest_to_the_ensemble_is_of_the_majority() -> None:
    seen = knowledge_of(told([2, 2, 2, 1], [0, 1, 0, 1], [0, 1, 0, 0]), 3)
    assert seen.with_ensemble is not None
    assert seen.with_ensemble.tolist() == [0.25, 1.0, 0.75]
    assert seen.nearest == 1
    # On a tie the one that is less far off, which is between the other two.
    rows = tuple(told([0, 1, 0, 1], sure=sure).rows[0] for sure in (0.5, 9.0, 1.5))
    assert knowledge_of(Predictions(rows, True, 4), 3).nearest == 2


@given(st.integers(2, 4), st.integers(2, 5), st.integers(0, 10_000))
def test_distances_are_those_of_the_definition(members: int, classes: int, seed: int) -> None:
    torch.manual_seed(seed)
    rows = tuple(torch.randn(7, classes) for _ in range(members))
    seen = knowledge_of(Predictions(rows, True, 7), members)
    p = [row.double().softmax(-1) for row in rows]
    q = torch.stack(p).mean(0)
    for k in range(members):
        expected = float((q * (q / p[k]).log()).sum(-1).mean())
        assert float(seen.off[k]) == pytest.approx(expected, abs=1e-6)
        assert off_ensemble(Predictions(rows, True, 7), members, k) == pytest.approx(
            float(seen.off[k])
        )
    assert seen.apart == pytest.approx(
        max(float((a.mean(0) - b.mean(0)).abs().sum()) / 2 for a in p for b in p)
    )


def numbers(*rows: Tensor) -> Predictions:
    return Predictions(rows, False, len(rows[0]))


def test_outputs_that_are_no_classes_have_distances_alone() -> None:
    base = torch.linspace(-1, 1, 20).reshape(-1, 1)
    seen = knowledge_of(numbers(base, base + 1, base - 1), 3)
    assert seen.apart is None
    assert seen.agreement is None
    assert seen.nearest == 0
    spread = float((base - base.mean()).double().square().mean())
    assert seen.off.tolist() == pytest.approx([0.0, 1 / spread, 1 / spread], rel=1e-5)


def test_plain_data_has_no_nan() -> None:
    found = knowledge_of(told([0, 1, 2], [0, 1, 1]), 2).to_dict()
    assert found["sure"][0] is not None
    assert knowledge_of(told([0, 1], [0, 1]), 2).to_dict()["sure"] == [None, None]
