"""Probes, the meta device, and negative controls of networks of several families."""

from __future__ import annotations

import pytest
import symmetry_zoo as zoo
import torch
from proved_specs import groups_of, proved
from torch import nn

from onefold.symmetry import find_symmetries, verify_symmetries


def test_features_of_the_other_parity_are_no_probes() -> None:
    spec = proved(zoo.EinsumAttention(), torch.randn(2, 5, 6))
    (scores,) = groups_of(spec, "q", 2)
    assert {probe.node for probe in scores.probes} >= {"einsum"}  # the queries
    assert not {probe.node for probe in scores.probes} & {"einsum_1"}  # the keys
    assert not scores.dense


def test_the_meta_device_gives_the_same_spec() -> None:
    with torch.device("meta"):
        hollow, tokens = zoo.Grouped(), torch.zeros(2, 7, dtype=torch.int64)
    assert all(parameter.is_meta for parameter in hollow.parameters())
    assert find_symmetries(hollow, tokens) == find_symmetries(zoo.Grouped(), zoo.tokens())


def test_a_wrong_class_of_maps_is_refuted() -> None:
    """Negative control of the proof of dense classes: a ReLU's features, said to rotate."""
    import dataclasses

    model, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(3, 4)
    spec = find_symmetries(model, x)
    for kind in ("sign", "orthogonal", "orthogonal_mean", "invertible"):
        wrong = dataclasses.replace(
            spec,
            groups=(dataclasses.replace(spec.groups[0], maps=frozenset({"permutation", kind})),),
        )
        proof = verify_symmetries(wrong, model, x)
        assert not proof.passed, kind
        assert proof.max_error > 1e-3, kind


@pytest.mark.slow
def test_a_tensor_without_effect_is_no_control() -> None:
    model = zoo.Encoder()
    proof = verify_symmetries(
        find_symmetries(model, torch.randn(2, 4, 5)), model, torch.randn(2, 4, 5), seed=3
    )
    assert proof.passed, str(proof)
