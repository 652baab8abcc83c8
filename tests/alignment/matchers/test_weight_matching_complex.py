"""Weight matching of networks that hold complex weights, with a reference and without, among them
heads.
"""

from __future__ import annotations

import warnings

import pytest
from random_networks import case, largest_deviation, members

import onefold


@pytest.mark.parametrize(
    "number", [192, 256]
)  # random networks with complex weights; the second has heads
@pytest.mark.parametrize("reference", [0, None])
def test_identical_networks_stay_what_they_are(number: int, reference: int | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = case(number)
        assert any(tensor.is_complex() for tensor in made.network.state_dict().values())
        result = onefold.merge(
            members(made, 2), made.data, align="weights", repair="none", reference=reference
        )
    assert largest_deviation(made.outputs(made.network), made.outputs(result.model)) < 1e-5
