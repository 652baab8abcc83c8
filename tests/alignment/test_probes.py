"""Nodes at which a group is read: by kind, not in front of the layer's own norm, head by head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from head_networks import Attention, built, inputs
from torch import nn

from onefold.alignment.probes import choose_probes
from onefold.symmetry import SymmetrySpec, find_symmetries
from onefold.symmetry.axes import Group


def hidden(spec: SymmetrySpec, size: int) -> Group:
    return next(group for group in spec.groups if group.size == size)


@pytest.mark.parametrize("kind", ["pre", "post"])
def test_nodes_of_the_wanted_kind_are_chosen(kind: str) -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    spec = find_symmetries(model, torch.randn(4, 3))
    group = hidden(spec, 5)
    assert {probe.kind for probe in group.probes} >= {"pre", "post"}
    found = choose_probes(spec, group, kind)
    assert {probe.kind for probe in found} == {kind}
    assert {p.node for p in found} == {p.node for p in group.probes if p.kind == kind}


def test_nodes_before_a_nonlinearity_stand_in_and_else_the_first_one() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    spec = find_symmetries(model, torch.randn(4, 3))
    group = hidden(spec, 5)
    before = tuple(probe for probe in group.probes if probe.kind == "pre")
    assert choose_probes(spec, replace(group, probes=before), "post") == before
    others = tuple(replace(probe, kind="other") for probe in (*before, *before))
    assert choose_probes(spec, replace(group, probes=others), "post") == others[:1]
    assert choose_probes(spec, replace(group, probes=()), "post") == ()


def test_a_layer_is_read_behind_its_own_norm() -> None:
    model = nn.Sequential(nn.Conv1d(3, 5, 1), nn.BatchNorm1d(5), nn.ReLU(), nn.Conv1d(5, 2, 1))
    spec = find_symmetries(model.eval(), torch.randn(4, 3, 6))
    group = hidden(spec, 5)
    layer = next(layer for layer in spec.layers if layer.norm is not None)
    found = choose_probes(spec, group, "pre")
    assert found
    assert layer.node not in {probe.node for probe in found}
    without = replace(spec, layers=tuple(replace(each, norm=None) for each in spec.layers))
    in_front = {probe.node for probe in group.probes if probe.kind == "pre"}
    assert {probe.node for probe in choose_probes(without, group, "pre")} == in_front


def test_heads_are_read_where_they_can_be_told_apart() -> None:
    model = built(Attention())
    spec = find_symmetries(model, inputs(model)[0])
    groups = [group for group in spec.groups if group.over]
    assert groups, "the network has heads"
    for group in groups:
        found = choose_probes(spec, group, "pre", per_fibre=True)
        assert found
        assert set(found) <= set(group.probes)
