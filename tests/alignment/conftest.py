"""Fixtures of the tests of alignments: members in memory and the same on disk."""

from __future__ import annotations

import pytest
from disk_networks import NETWORKS, members_of, written
from torch import nn

from onefold.sources import DiskMembers


@pytest.fixture(scope="module", params=["Plain", "Residual"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[nn.Module], DiskMembers]:
    models = members_of(NETWORKS[request.param])
    return models, DiskMembers(
        NETWORKS[request.param], written(models, tmp_path_factory.mktemp("members"))
    )
