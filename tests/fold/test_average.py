"""Weights of members and their mean, in plain numbers."""

from __future__ import annotations

import math

import pytest
import torch

from onefold.errors import MembersError, SettingError
from onefold.fold.average import average, normalized


def test_weights_are_divided_by_their_sum() -> None:
    assert normalized(None, 4) == (0.25,) * 4
    assert normalized(None, 1) == (1.0,)
    assert normalized([1, 3], 2) == (0.25, 0.75)
    assert normalized([0.2, 0.0, 0.2], 3) == (0.5, 0.0, 0.5)
    assert normalized([0, 1e-9], 2) == (0.0, 1.0)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, 2.0], [1.0, math.nan], [math.inf, 1.0]])
def test_weights_that_are_no_shares_are_refused(weights: list[float]) -> None:
    with pytest.raises(SettingError, match="finite, 0 or greater, and not all 0"):
        normalized(weights, 2)
    with pytest.raises(MembersError, match="one weight for each"):
        normalized([*weights, 1.0], 2)


def states(count: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {"w": torch.randn(40, 3, generator=generator), "n": torch.tensor(k)} for k in range(count)
    ]


@pytest.mark.parametrize("reference", [0, 1, 2])
def test_the_average_is_the_weighted_sum(reference: int) -> None:
    given, weights = states(3), (0.2, 0.5, 0.3)
    found = average(given, weights, reference=reference)
    exact = sum(weight * state["w"].double() for weight, state in zip(weights, given, strict=True))
    assert torch.equal(found["w"], exact.float()) or torch.allclose(
        found["w"].double(), exact, rtol=0, atol=1e-7
    )
    assert found["w"].dtype == torch.float32
    assert int(found["n"]) == reference
    one = average(given[:1], (1.0,), reference=0)
    assert torch.equal(one["w"], given[0]["w"])
    assert one["w"].data_ptr() != given[0]["w"].data_ptr()


@pytest.mark.parametrize("weights", [(0.25,) * 4, (0.4, 0.2, 0.2, 0.2), (0.1, 0.2, 0.3, 0.4)])
def test_the_order_of_the_others_changes_no_bit(weights: tuple[float, ...]) -> None:
    given = [{"w": state["w"].double() * 10.0 ** (3 * k)} for k, state in enumerate(states(4))]
    plain = average(given, weights, reference=0)["w"]
    different = False
    for order in ([0, 2, 1, 3], [0, 3, 2, 1], [0, 3, 1, 2]):
        moved = average([given[k] for k in order], [weights[k] for k in order], reference=0)["w"]
        assert torch.equal(moved, plain)
        summed = sum((weights[k] * given[k]["w"] for k in order[1:]), weights[0] * given[0]["w"])
        different |= not torch.equal(summed, plain)
    assert different  # in the order in which they come the last bits would differ
