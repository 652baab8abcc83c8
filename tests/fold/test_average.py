"""Weights of members and their mean, in plain numbers."""

from __future__ import annotations

import math

import pytest
import torch

from onefold.errors import MembersError, SettingError
from onefold.fold.average import average, normalized, owner_of


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


@pytest.mark.parametrize("largest", [1e300, 1e308, 1.7e308])
def test_the_largest_weights_are_divided_too(largest: float) -> None:
    assert normalized([largest] * 4, 4) == (0.25,) * 4
    assert normalized([largest, 1.0], 2) == (1.0, 1 / largest)


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


@pytest.mark.parametrize(
    ("weights", "reference", "owner"),
    [((0.1, 0.9), 0, 0), ((0.0, 0.3, 0.7), 0, 2), ((0.3, 0.7, 0.0), 2, 1), ((0.6, 0.0, 0.4), 1, 0)],
)
def test_counters_come_from_the_reference_or_if_it_has_no_weight_from_the_heaviest(
    weights: tuple[float, ...], reference: int, owner: int
) -> None:
    assert owner_of(weights, reference) == owner
    assert int(average(states(len(weights)), weights, reference=reference)["n"]) == owner


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_tensors_are_averaged_in_an_order_of_their_own(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    given = [
        {"w": 10.0 ** (3 * k) * torch.randn(30, dtype=torch.complex128, generator=generator)}
        for k in range(4)
    ]
    given = [{"w": state["w"].to(dtype)} for state in given]
    plain = average(given, (0.25,) * 4, reference=0)["w"]
    exact = sum(0.25 * state["w"].to(torch.complex128) for state in given)
    torch.testing.assert_close(plain, exact.to(dtype))
    for order in ([0, 2, 1, 3], [0, 3, 2, 1], [0, 3, 1, 2]):
        moved = average([given[k] for k in order], (0.25,) * 4, reference=0)["w"]
        assert torch.equal(moved, plain)
