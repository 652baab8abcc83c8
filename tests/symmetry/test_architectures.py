"""Networks of every common architecture: what is found is proved, and covers nearly all of them."""

from __future__ import annotations

import pytest
import torch
from symmetry_builders import NETWORKS as OTHERS
from symmetry_language_builders import LANGUAGE_NETWORKS

from onefold.symmetry import SymmetrySpec, find_symmetries, verify_symmetries

NETWORKS = OTHERS | LANGUAGE_NETWORKS


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_proved_and_covered(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    spec = find_symmetries(network.model, network.inputs)
    proof = verify_symmetries(spec, network.model, network.inputs)
    assert proof.passed, str(proof)
    assert proof.max_error < 1e-10
    tied = [
        group for group in spec.groups if len({slot.tensor for slot in group.slots}) > 1
    ]  # others leave nothing to get wrong
    assert proof.negatives_tried >= min(len(tied), 12) - bool(
        proof.inert
    )  # a group of tensors without effect has no control
    assert spec.coverage >= network.coverage, str(spec)
    assert spec.unknown == {}
    assert SymmetrySpec.from_json(spec.to_json()) == spec


def test_there_are_more_than_a_hundred() -> None:
    assert len(NETWORKS) >= 110
