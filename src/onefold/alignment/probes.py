"""The choice of the nodes at which the features of a group are read."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from onefold.errors import SymmetryError
from onefold.symmetry import fibre_features
from onefold.symmetry.axes import Group, Probe, live_groups
from onefold.symmetry.spec import SymmetrySpec

ROTATIONS = frozenset({"orthogonal", "orthogonal_mean", "invertible"})


def choose_probes(
    spec: SymmetrySpec, group: Group, kind: str, *, per_fibre: bool = False, duals: bool = False
) -> tuple[Probe, ...]:
    """All nodes of the wanted kind where a group can be read.

    If there are none, the nodes before a nonlinearity are taken; if there are none of these either,
    the first node. A layer's output in front of its own batch norm is left out: with the norm
    folded, the norm's output shows the same.

    Args:
        spec: the symmetries of the network.
        group: the group to be read.
        kind: "pre" or "post" activation.
        per_fibre: only nodes where the fibres can be told apart.
        duals: nodes of the features that take the inverse transpose.
    """
    behind = {layer.node for layer in spec.layers if layer.norm is not None}
    every = group.duals if duals else group.probes
    found = [probe for probe in every if not per_fibre or _tells_apart(spec, group, probe)]
    found = [probe for probe in found if probe.node not in behind] or found
    return _of_kind(found, kind) or _of_kind(found, "pre") or tuple(found[:1])


def _of_kind(probes: Sequence[Probe], kind: str) -> tuple[Probe, ...]:
    return tuple(probe for probe in probes if probe.kind == kind)


def _tells_apart(spec: SymmetrySpec, group: Group, probe: Probe) -> bool:
    """Whether the node holds the group that numbers the fibres, beside the group itself.

    A group that is itself an index (the heads of queries that share a head of keys) cannot be read
    beside features whose maps are not known.
    """
    axes = spec.nodes[probe.node]
    beside = {name for term in axes for name in live_groups(term)} - {group.name, *group.over}
    if beside and ROTATIONS.isdisjoint(group.maps):
        return False
    try:
        fibre_features(torch.empty([term.size for term in axes], device="meta"), axes, group)
    except SymmetryError:
        return False
    return True
