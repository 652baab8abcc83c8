"""Fixtures of the tests of soft merging: trained members of two small networks."""

from __future__ import annotations

import pytest
from small_networks import Plain, Residual, members
from torch import nn


@pytest.fixture(scope="module")
def plain() -> list[nn.Module]:
    return members(Plain, 3)


@pytest.fixture(scope="module")
def residual() -> list[nn.Module]:
    return members(Residual, 3)
