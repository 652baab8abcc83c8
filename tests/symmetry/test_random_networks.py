"""Random networks: operators of every family put together at random, each proved."""

from __future__ import annotations

import pytest
import torch
from drawn_networks import Drawn

from onefold.symmetry import find_symmetries, verify_symmetries


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(40), 55, 216])  # the last two were found wrong once
def test_random_networks_are_proved(seed: int) -> None:
    torch.manual_seed(seed)
    model, x = Drawn(seed), torch.randn(3, 4, 5)
    spec = find_symmetries(model, x)
    proof = verify_symmetries(spec, model, x, negatives=4)
    assert proof.max_error < 1e-10, f"{model.names}\n{spec}\n{proof}"
    assert spec.unknown == {}, model.names
