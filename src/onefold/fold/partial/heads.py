"""Heads: the members' own layers behind the cut, made to read the trunk's features.

The trunk's features are in the common basis, h = T x. There are three ways to read them, of which
the first that is exact is taken:

1. T keeps the network's function (permutations; rotations of transformers). T is written into the
   member's tensors behind the cut, all of those that hold its groups, and nothing is left to do at
   run time.
2. Everything that reads the features is linear, with nothing but averages and changes of shape in
   between. Then W x = (W T^-1) h, and T^-1 is written into these weights.
3. Otherwise x = T^-1 h is computed where the features cross the cut.

In each way, behind a trunk that computes T x the member's outputs are its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, fx

from onefold.alignment import Alignment
from onefold.fold.partial.unmerge import Unmerge, unmerges
from onefold.symmetry import GroupMap, SymmetrySpec, apply_maps, fold_scales
from onefold.symmetry.axes import Slot, live_groups
from onefold.symmetry.cutting import Cut, Cutting
from onefold.symmetry.maps import is_rectangular, keeps_function, maps_of_output

# Operators that act on every feature alike and linearly, so that a map of the features passes
# through them.
_PASSING = (
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "mean",
    "sum",
    "flatten",
    "view",
    "reshape",
    "permute",
    "transpose",
    "unsqueeze",
    "squeeze",
    "contiguous",
    "clone",
    "dropout",
    "select",
    "slice",
)


@dataclass(frozen=True)
class HeadState:
    """The tensors of one member's head.

    Attributes:
        state: the member's state dict as its head takes it.
        unmerge: the steps that map crossing values first.
        way: "own" (as it is), "written" (way 1), "read" (way 2) or "unmerged" (way 3).
    """

    state: Mapping[str, Tensor]
    unmerge: list[Unmerge]
    way: str  # "own", "written", "read" or "unmerged"


def head_state(
    cutting: Cutting,
    cut: Cut,
    alignment: Alignment | None,
    state: Mapping[str, Tensor],
    member: int,
) -> HeadState:
    """The head of one member.

    Args:
        cutting: the member's own traced network.
        cut: the place.
        alignment: the maps of all members; None if they were left as they are.
        state: the member's state dict.
        member: its number.

    Raises:
        AlignmentError: a crossing value cannot be brought back.
    """
    if alignment is None:
        return HeadState(state, [], "own")
    spec = cutting.spec
    if alignment.folds_scales:
        state = fold_scales(state, spec)
    crossing = _closure(cutting, cut)
    maps = {
        name: group_map
        for name, of_members in alignment.maps.items()
        if name in crossing and not _is_identity(group_map := of_members[member])
    }
    if not maps:
        return HeadState(state, [], "own")
    folded = alignment.folds_scales
    if all(keeps_function(spec.group(name), m, folded=folded) for name, m in maps.items()):
        return HeadState(apply_maps(state, spec, maps), [], "written")
    consumers = consumers_of(cutting, cut, set(maps))
    if consumers is not None and not any(is_rectangular(m) for m in maps.values()):
        mapped = apply_maps(state, spec, maps)
        written = {name: mapped[name] if name in consumers else v for name, v in state.items()}
        return HeadState(written, [], "read")
    like = next(value for value in state.values() if value.is_floating_point())
    steps: list[Unmerge] = []
    for index, name in enumerate(cut.crossing):
        if name not in spec.nodes:
            continue
        duals = [
            group.name for group in spec.groups if any(probe.node == name for probe in group.duals)
        ]
        steps += unmerges(index, spec.nodes[name], spec, maps_of_output(maps, duals), like)
    return HeadState(state, steps, "unmerged")


def _closure(cutting: Cutting, cut: Cut) -> set[str]:
    """The groups whose features cross, and the groups that number their fibres."""
    crossing = {
        name
        for node in cut.crossing
        for term in cutting.spec.nodes.get(node, ())
        for name in live_groups(term)
    }
    known = {group.name: group for group in cutting.spec.groups}
    return crossing | {index for name in crossing for index in known[name].over if index in known}


def _is_identity(group_map: GroupMap) -> bool:
    identity = GroupMap.identity(group_map.size, group_map.kind).forward
    forward = group_map.forward.cpu()
    return forward.shape == identity.shape and bool((forward == identity).all())


def consumers_of(cutting: Cutting, cut: Cut, groups: set[str]) -> set[str] | None:
    """The weights that read the crossing features of these groups and nothing else of theirs.

    None if something else reads these features too.
    """
    layers = {layer.node: layer for layer in cutting.spec.layers}
    spec, before, weights = cutting.spec, cutting.before(cut), set()
    waiting: list[fx.Node] = [
        node for node in cutting.nodes if node.name in cut.crossing and _held(spec, node, groups)
    ]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        held = _held(spec, node, groups)
        for user in node.users:
            if user in before or _is_size(user):
                continue
            layer = layers.get(user.name)
            if layer is not None:
                if layer.source != node.name or layer.shared:
                    return None
                if not _only_reads(spec, layer.weight, held, groups):
                    return None
                weights.add(layer.weight)
                continue
            passing = str(getattr(user.target, "_opname", "")) in _PASSING
            if not passing or _held(spec, user, groups) != held:
                return None
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return weights


def _held(spec: SymmetrySpec, node: fx.Node, groups: set[str]) -> set[str] | None:
    """Those of the groups that a node's features hold; None if that is not known."""
    axes = spec.nodes.get(node.name)
    return None if axes is None else {name for term in axes for name in live_groups(term)} & groups


def _only_reads(spec: SymmetrySpec, weight: str, held: set[str] | None, groups: set[str]) -> bool:
    """Whether a weight's inputs are exactly the groups `held`, and its outputs none of `groups`."""
    slots: Sequence[tuple[str, Slot]] = [
        (group.name, slot) for group in spec.groups for slot in group.slots if slot.tensor == weight
    ]
    crossing = [(name, slot) for name, slot in slots if name in groups]
    consumes = all(slot.role == "consumer" for _, slot in crossing)
    return {name for name, _ in crossing} == held and consumes


def _is_size(node: fx.Node) -> bool:
    return not isinstance(node.meta.get("val"), Tensor | tuple | list)
