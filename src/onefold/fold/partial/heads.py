"""What every member needs behind the cut to read the trunk's features, which are in the common
basis h = T x.

Three ways, the first that is exact:
1. T keeps the network's function (permutations; rotations of transformers): T is written into the
   member's tensors behind the cut, all of those that hold its groups, and nothing is left to do
   when it runs.
2. Everything that reads the features is linear, with nothing but averages and changes of shape in
   between: W x = (W T^-1) h, so that T^-1 goes into these weights.
3. Else x = T^-1 h is computed where the features cross.
Whichever it is, behind a trunk that computes T x the member's outputs are its own.
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
    """A member's tensors as its head takes them, what to do with the crossing values first, and
    which of the three ways it is.
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
    """The head of one member. cutting: of its own network. state: of the member as it came.

    Raises:
        AlignmentError: a crossing value cannot be brought back.
    """
    if alignment is None:
        return HeadState(state, [], "own")
    spec = cutting.spec
    if alignment.folds_scales:
        state = fold_scales(state, spec)
    maps = {
        name: own
        for name, each in alignment.maps.items()
        if name in _closure(cutting, cut) and not _is_identity(own := each[member])
    }
    if not maps:
        return HeadState(state, [], "own")
    if all(
        keeps_function(spec.group(name), own, folded=alignment.folds_scales)
        for name, own in maps.items()
    ):
        return HeadState(apply_maps(state, spec, maps), [], "written")
    readers = _readers(cutting, cut, set(maps))
    if readers is not None and not any(is_rectangular(own) for own in maps.values()):
        mapped = apply_maps(state, spec, maps)
        return HeadState(
            {name: mapped[name] if name in readers else value for name, value in state.items()},
            [],
            "read",
        )
    like = next(value for value in state.values() if value.is_floating_point())
    found: list[Unmerge] = []
    for place, name in enumerate(cut.crossing):
        if name in spec.nodes:
            duals = [
                group.name
                for group in spec.groups
                if any(probe.node == name for probe in group.duals)
            ]
            found += unmerges(place, spec.nodes[name], spec, maps_of_output(maps, duals), like)
    return HeadState(state, found, "unmerged")


def _closure(cutting: Cutting, cut: Cut) -> set[str]:
    """The groups whose features cross, with those that number their fibres."""
    crossing = {
        name
        for node in cut.crossing
        for term in cutting.spec.nodes.get(node, ())
        for name in live_groups(term)
    }
    known = {group.name: group for group in cutting.spec.groups}
    return crossing | {index for name in crossing for index in known[name].over if index in known}


def _is_identity(group_map: GroupMap) -> bool:
    own = GroupMap.identity(group_map.size, group_map.kind)
    return group_map.forward.shape == own.forward.shape and bool(
        (group_map.forward.cpu() == own.forward).all()
    )


def _readers(cutting: Cutting, cut: Cut, groups: set[str]) -> set[str] | None:
    """The weights that read the crossing features of these groups and nothing else of theirs; None
    where not all readers are such weights.
    """
    layers = {layer.node: layer for layer in cutting.spec.layers}
    before, found = cutting.before(cut), set()
    waiting: list[fx.Node] = [
        node
        for node in cutting.nodes
        if node.name in cut.crossing and _held(cutting.spec, node, groups)
    ]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        held = _held(cutting.spec, node, groups)
        for user in node.users:
            if user in before or _is_size(user):
                continue
            layer = layers.get(user.name)
            if layer is not None:
                if (
                    layer.source != node.name
                    or layer.shared
                    or not _only_reads(cutting.spec, layer.weight, held, groups)
                ):
                    return None
                found.add(layer.weight)
            elif (
                str(getattr(user.target, "_opname", "")) in _PASSING
                and _held(cutting.spec, user, groups) == held
            ):
                if user not in seen:
                    seen.add(user)
                    waiting.append(user)
            else:
                return None
    return found


def _held(spec: SymmetrySpec, node: fx.Node, groups: set[str]) -> set[str] | None:
    """Which of the groups a node's features hold; None where that is not known."""
    axes = spec.nodes.get(node.name)
    return None if axes is None else {name for term in axes for name in live_groups(term)} & groups


def _only_reads(spec: SymmetrySpec, weight: str, held: set[str] | None, groups: set[str]) -> bool:
    """Whether a weight takes in exactly the groups `held`, and puts out none of `groups`."""
    slots: Sequence[tuple[str, Slot]] = [
        (group.name, slot) for group in spec.groups for slot in group.slots if slot.tensor == weight
    ]
    own = [(name, slot) for name, slot in slots if name in groups]
    return {name for name, _ in own} == held and all(slot.role == "consumer" for _, slot in own)


def _is_size(node: fx.Node) -> bool:
    return not isinstance(node.meta.get("val"), Tensor | tuple | list)
