"""Whatever network a user brings: what is found is proved numerically, for every class of maps claimed, and covers nearly all of it."""

from __future__ import annotations

import pytest
import torch
from symmetry_builders import NETWORKS

from onefold.symmetry import SymmetrySpec, find_symmetries, verify_symmetries


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_proved_and_covered(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    spec = find_symmetries(network.model, network.inputs)
    proof = verify_symmetries(spec, network.model, network.inputs)
    assert proof.passed, str(proof)
    assert proof.max_error < 1e-10
    assert proof.negatives_tried >= min(len(spec.groups), 12)
    assert spec.coverage >= network.coverage, str(spec)
    assert spec.unknown == {}
    assert SymmetrySpec.from_json(spec.to_json()) == spec


def test_there_are_at_least_fifty() -> None:
    assert len(NETWORKS) >= 50
