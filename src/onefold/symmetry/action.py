"""Carry out maps on a state dict: permutations, positive scales, signs and dense matrices, each on all slots of its group.

Where features change as x -> T x, what produces them changes as W -> T W, b -> T b, and what consumes them as W -> W T^-1. Norm tensors
follow: for a permutation all of them move; for a positive scale c the weight, shift and mean take c and the variance v becomes
c^2 (v + eps) - eps, which makes the identity exact; for a sign only shift and mean change. Dense maps leave the norms alone: the caller
has folded them into the layers before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.symmetry.spec import Axes, Case, Fixed, Group, Live, Prod, Sum, SymmetrySpec, Term

Kind = Literal["permutation", "scale", "sign", "dense"]
_CONSUMER = "consumer"
_UNCHANGED = {
    "scale": ("depthwise",),
    "sign": ("depthwise", "scale", "variance"),
    "dense": ("scale", "mean", "variance"),
}


@dataclass(frozen=True, eq=False)
class GroupMap:
    """One map of a group's C coordinates.

    kind "permutation": `forward` (..., C) int64, new[i] = old[forward[i]]. "scale": `forward` (..., C) positive numbers. "sign":
    `forward` (..., C) of +1 and -1. "dense": `forward` (..., C, C) is T, new = T old, and `inverse` (..., C, C) is what consumers are
    multiplied with: the inverse of T, or a pseudo-inverse. The leading axes, if any, count the fibres: one for each atom of
    `Group.over`, in its order, numbered as they are before any map.
    """

    kind: Kind
    forward: Tensor
    inverse: Tensor | None = None

    @staticmethod
    def identity(size: int, kind: Kind = "permutation") -> GroupMap:
        """The map that leaves `size` coordinates as they are."""
        if kind == "permutation":
            return GroupMap(kind, torch.arange(size))
        if kind == "dense":
            eye = torch.eye(size, dtype=torch.float64)
            return GroupMap(kind, eye, eye.clone())
        return GroupMap(kind, torch.ones(size, dtype=torch.float64))

    @property
    def size(self) -> int:
        """C, the number of coordinates."""
        return self.forward.shape[-1]

    def inverted(self) -> GroupMap:
        """The map that undoes this one. Raises SymmetryError for a dense map without an inverse."""
        if self.kind == "permutation":
            return GroupMap(self.kind, torch.argsort(self.forward, dim=-1))
        if self.kind == "dense":
            if self.inverse is None:
                raise SymmetryError("A dense map without its inverse cannot be inverted; give GroupMap both matrices.")
            return GroupMap(self.kind, self.inverse, self.forward)
        return GroupMap(self.kind, 1 / self.forward.to(torch.float64))

    def then(self, other: GroupMap) -> GroupMap:
        """This map followed by `other`. Maps of different kinds become a dense one. Raises SymmetryError where the sizes differ."""
        if self.size != other.size:
            raise SymmetryError(f"Maps of {self.size} and {other.size} coordinates cannot follow each other; both must act on one group.")
        if self.kind == other.kind == "permutation":
            return GroupMap("permutation", torch.gather(self.forward, -1, other.forward.expand_as(self.forward)))
        if self.kind == other.kind and self.kind in ("scale", "sign"):
            return GroupMap(self.kind, self.forward * other.forward)
        first, second = self.dense(), other.dense()
        assert first.inverse is not None
        assert second.inverse is not None
        return GroupMap("dense", second.forward @ first.forward, first.inverse @ second.inverse)

    def dense(self) -> GroupMap:
        """The same map as matrices, in float64 unless it is dense already."""
        if self.kind == "dense":
            if self.inverse is None:
                raise SymmetryError("A dense map needs its inverse for the consumers; give GroupMap both matrices.")
            return self
        if self.kind == "permutation":
            matrix = torch.nn.functional.one_hot(self.forward, self.size).to(torch.float64)
            return GroupMap("dense", matrix, matrix.transpose(-1, -2).contiguous())
        forward = self.forward.to(torch.float64)
        return GroupMap("dense", torch.diag_embed(forward), torch.diag_embed(1 / forward))


def apply_maps(state: Mapping[str, Tensor], spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> dict[str, Tensor]:
    """The state dict after the maps (group name -> map): a new dict of new tensors, of the same dtypes and devices.

    Groups without a map stay as they are, and so do entries that the spec does not know. Tensors that are tied in the spec stay tied.

    Raises:
        SymmetryError: a map's group does not exist or has another size, its kind cannot act on the group, or a tensor is missing or of
            another shape than the spec says.
    """
    check_maps(spec, maps)
    changed = mapped_tensors(state, spec, maps)
    result: dict[str, Tensor] = {}
    tied = {name: names[0] for names in spec.tied for name in names}
    for name, tensor in state.items():
        first = tied.get(name, name)
        if first != name and first in result:
            result[name] = result[first]
        else:
            result[name] = changed[name] if name in changed else tensor.clone()
    return result


def mapped_tensors(state: Mapping[str, Tensor], spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> dict[str, Tensor]:
    """Only the tensors that the maps change, as new tensors."""
    groups = {group.name: group for group in spec.groups}
    active = [groups[name] for name in _dependants_first(spec, maps)]
    tied = {name: names[0] for names in spec.tied for name in names}
    roles = {(slot.tensor, slot.axis, group.name): slot.role for group in active for slot in group.slots}
    eps = {norm.variance: norm.eps for norm in spec.norms}
    touched = {slot.tensor for group in active for slot in group.slots}
    changed: dict[str, Tensor] = {}
    for name, axes in spec.axes.items():
        first = tied.get(name, name)
        if first not in touched or name not in state:
            if first in touched and first == name:
                raise SymmetryError(f"The state dict lacks '{name}', which the maps must change; pass the whole state dict of the network.")
            continue
        tensor = state[name]
        if tensor.dim() != len(axes) or any(n != term.size for n, term in zip(tensor.shape, axes, strict=True)):
            wanted = tuple(term.size for term in axes)
            raise SymmetryError(f"'{name}' has shape {tuple(tensor.shape)}, but the symmetry spec says {wanted}; find the symmetries again.")
        own = {(axis, group): role for (slot, axis, group), role in roles.items() if slot == first}
        changed[name] = _Action(active, maps, own, eps.get(first, 0.0)).on(tensor.detach(), axes)
    return changed


def check_maps(spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> None:
    """Raises SymmetryError where a map does not fit its group; see `apply_maps`."""
    sizes = _index_sizes(spec)
    for name, group_map in maps.items():
        group = spec.group(name)
        matrix = group_map.kind == "dense"
        trailing = (group.size, group.size) if matrix else (group.size,)
        fibres = tuple(sizes[h] for h in group.over)
        shape = tuple(group_map.forward.shape)
        if shape not in (trailing, (*fibres, *trailing)):
            raise SymmetryError(
                f"The {group_map.kind} map of group {name} has shape {shape}; it needs {trailing}"
                + (f" or {(*fibres, *trailing)}." if fibres else ".")
            )
        if matrix and not group.dense:
            raise SymmetryError(f"Group {name} takes no dense map, as one of its tensors stands for single coordinates; use a permutation there.")
        if matrix and (group_map.inverse is None or group_map.inverse.shape != group_map.forward.shape):
            raise SymmetryError(f"The dense map of group {name} needs an inverse of shape {shape} for the consumers; give GroupMap both matrices.")
        if group_map.kind == "permutation" and not torch.equal(
            torch.sort(group_map.forward, dim=-1).values, torch.arange(group.size, device=group_map.forward.device).expand(shape)
        ):
            raise SymmetryError(f"The map of group {name} is no permutation: each of 0 to {group.size - 1} must occur once.")
        if group_map.kind in ("scale", "sign") and group_map.kind not in group.maps:
            raise SymmetryError(f"Group {name} takes no {group_map.kind} map; it allows {', '.join(sorted(group.maps))}.")


def _index_sizes(spec: SymmetrySpec) -> dict[str, int]:
    sizes = {group.name: group.size for group in spec.groups}
    for axes in (*spec.axes.values(), *spec.nodes.values()):
        for term in axes:
            for leaf in _leaves(term):
                if isinstance(leaf, Fixed):
                    sizes[leaf.name] = leaf.size
    return sizes


def _leaves(term: Term) -> Iterator[Live | Fixed]:
    if isinstance(term, Live | Fixed):
        yield term
    else:
        for part in term.parts:
            yield from _leaves(part)


def _dependants_first(spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> list[str]:
    """Fibres are numbered as before any map, so a group goes before the groups that number its fibres."""
    over = {group.name: set(group.over) for group in spec.groups if group.name in maps}
    order: list[str] = []
    while over:
        ready = [name for name in over if not any(name in others for other, others in over.items() if other != name)]
        for name in ready or list(over):
            order.append(name)
            del over[name]
    return order


@dataclass(frozen=True)
class _Action:
    """The maps on one tensor. `roles`: (axis, group) -> role there."""

    groups: Sequence[Group]
    maps: Mapping[str, GroupMap]
    roles: Mapping[tuple[int, str], str]
    eps: float

    def on(self, tensor: Tensor, axes: Axes) -> Tensor:
        result = self._split(tensor, list(axes), list(range(len(axes))), {})
        return result.reshape(tensor.shape).to(tensor.dtype).contiguous() if result is not tensor else tensor.clone()

    def _split(self, tensor: Tensor, axes: list[Term], origin: list[int], index: dict[str, int]) -> Tensor:
        """Take products, cases and segments apart until every axis is one leaf; then act. Returns what `tensor` becomes, in shape."""
        for k, term in enumerate(axes):
            if isinstance(term, Prod):
                parts = [part.size for part in term.parts]
                inner = tensor.reshape(*tensor.shape[:k], *parts, *tensor.shape[k + 1 :])
                spread = [*origin[:k], *[origin[k]] * len(parts), *origin[k + 1 :]]
                return self._split(inner, [*axes[:k], *term.parts, *axes[k + 1 :]], spread, index).reshape(tensor.shape)
        case = next((case for term in axes for case in _cases(term)), None)
        if case is not None:
            at = next((k for k, term in enumerate(axes) if isinstance(term, Fixed) and term.name == case.index), None)
            if at is None:
                raise SymmetryError(f"The symmetry spec names the index '{case.index}', but the tensor has no such axis; find the symmetries again.")
            pieces = []
            for value, piece in enumerate(tensor.unbind(at)):
                rest = [_substitute(term, case.index, value) for k, term in enumerate(axes) if k != at]
                pieces.append(self._split(piece, rest, origin[:at] + origin[at + 1 :], {**index, case.index: value}))
            return torch.stack(pieces, at)
        for k, term in enumerate(axes):
            if isinstance(term, Sum):
                segments = tensor.split([part.size for part in term.parts], k)
                done = [
                    self._split(piece, [*axes[:k], part, *axes[k + 1 :]], origin, index) for piece, part in zip(segments, term.parts, strict=True)
                ]
                return torch.cat(done, k)
        return self._act(tensor, axes, origin, index)

    def _act(self, tensor: Tensor, axes: list[Term], origin: list[int], index: dict[str, int]) -> Tensor:
        for group in self.groups:
            for k, term in enumerate(axes):
                if isinstance(term, Live) and term.group == group.name:
                    tensor = self._map(tensor, k, group, self.roles[(origin[k], group.name)], axes, origin, index)
        return tensor

    def _map(self, tensor: Tensor, axis: int, group: Group, role: str, axes: list[Term], origin: list[int], index: dict[str, int]) -> Tensor:
        group_map = self.maps[group.name]
        if role in _UNCHANGED.get(group_map.kind, ()):
            return tensor
        values = group_map.forward if role != _CONSUMER or group_map.kind != "dense" or group_map.inverse is None else group_map.inverse
        values = values.to(tensor.device)
        matrix = group_map.kind == "dense"
        fibred = values.dim() > (2 if matrix else 1)
        where = [_fibre_axis(h, axis, axes, origin, index) for h in group.over] if fibred else []
        for k in range(len(where) - 1, -1, -1):  # an index that was fixed on the way here
            if where[k] is None:
                values = values.select(k, index[group.over[k]])
        fibre_axes = [k for k in where if k is not None]
        if group_map.kind == "permutation":
            return _permute(tensor, axis, values, fibre_axes)
        if matrix:
            return _multiply(tensor, axis, values, fibre_axes, transposed=role == _CONSUMER)
        factor = _aligned(values.to(_wide(tensor.dtype)), fibre_axes, axis, tensor.dim())
        wide = tensor.to(_wide(tensor.dtype))
        if role == "variance":
            return factor.square() * (wide + self.eps) - self.eps
        return wide / factor if role == _CONSUMER else wide * factor


def _permute(tensor: Tensor, axis: int, forward: Tensor, fibre_axes: list[int]) -> Tensor:
    if not fibre_axes:
        return tensor.index_select(axis, forward)
    return tensor.gather(axis, _aligned(forward, fibre_axes, axis, tensor.dim()).expand(tensor.shape))


def _multiply(tensor: Tensor, axis: int, matrix: Tensor, fibre_axes: list[int], transposed: bool) -> Tensor:
    """Contract the axis with T (producers: T x), or with the inverse from the right (consumers: x T^-1)."""
    wide = _wide(tensor.dtype)
    order = [*fibre_axes, *(k for k in range(tensor.dim()) if k not in (*fibre_axes, axis)), axis]
    moved = tensor.to(wide).permute(order)
    flat = moved.reshape(*moved.shape[: len(fibre_axes)], -1, moved.shape[-1])
    factor = matrix.to(wide)
    product = flat @ (factor if transposed else factor.transpose(-1, -2))
    back = [order.index(k) for k in range(tensor.dim())]
    return product.reshape(*moved.shape[:-1], product.shape[-1]).permute(back)


def _aligned(values: Tensor, fibre_axes: list[int], axis: int, rank: int) -> Tensor:
    """`values` (fibres..., C) with its axes at `fibre_axes` and `axis` of a tensor of that rank, and length one elsewhere."""
    targets = [*fibre_axes, axis]
    order = sorted(range(len(targets)), key=lambda k: targets[k])
    shape = [1] * rank
    for k in order:
        shape[targets[k]] = values.shape[k]
    return values.permute(order).reshape(shape)


def _fibre_axis(name: str, axis: int, axes: list[Term], origin: list[int], index: dict[str, int]) -> int | None:
    """The axis that counts the fibres: the nearest of that name, on the same original axis if there is one. None: fixed by a case."""
    found = [k for k, term in enumerate(axes) if name in (getattr(term, "group", None), getattr(term, "name", None))]
    same = [k for k in found if origin[k] == origin[axis]]
    if not found and name not in index:
        raise SymmetryError(f"A map differs along '{name}', which one of its tensors has not got; find the symmetries again.")
    return (same or found or [None])[0]


def _cases(term: Term) -> Iterator[Case]:
    if isinstance(term, Case):
        yield term
    elif isinstance(term, Prod | Sum):
        for part in term.parts:
            yield from _cases(part)


def _substitute(term: Term, index: str, value: int) -> Term:
    if isinstance(term, Case) and term.index == index:
        return term.parts[value]
    if isinstance(term, Prod | Sum):
        return type(term)(tuple(_substitute(part, index, value) for part in term.parts))
    return term


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Maps are carried out in float64, also for weights of lower precision."""
    return dtype if dtype.is_complex else torch.float64


def features(value: Tensor, axes: Axes, group: Group) -> Tensor:
    """The features of a group in a node's value, as (samples, C): a view where memory allows it.

    value: a tensor that a visitor received. axes: the node's terms, `spec.nodes[name]`. Where the group stands on several segments, or
    among other parts, all of them are samples. For a channels_last feature map and for (n, C) nothing is copied.

    Raises:
        SymmetryError: the group is not among the axes.
    """
    found = [_flat(piece, axis) for piece, axis, _ in _occurrences(value, list(axes), group.name)]
    if not found:
        raise SymmetryError(f"The node's axes hold no group {group.name}; take a node from the group's probes.")
    return found[0] if len(found) == 1 else torch.cat(found)


def fibre_features(value: Tensor, axes: Axes, group: Group) -> Tensor:
    """As `features`, but (fibres..., samples, C), with one leading axis for each atom of `group.over`.

    Raises:
        SymmetryError: the group, or one of the atoms it differs along, is not among the axes.
    """
    for piece, axis, terms in _occurrences(value, list(axes), group.name):
        names = [getattr(term, "group", None) or getattr(term, "name", None) for term in terms]
        if all(h in names for h in group.over):
            where = [names.index(h) for h in group.over]
            order = [*where, *(k for k in range(piece.dim()) if k not in (*where, axis)), axis]
            moved = piece.permute(order)
            return moved.reshape(*moved.shape[: len(where)], math.prod(moved.shape[len(where) : -1]), moved.shape[-1])
    raise SymmetryError(f"The node's axes do not hold group {group.name} beside {', '.join(group.over) or 'nothing'}; take a node from its probes.")


def _occurrences(value: Tensor, axes: list[Term], name: str) -> Iterator[tuple[Tensor, int, list[Term]]]:
    """Every (view of the value, axis in it, its terms) where the group fills one axis."""
    for k, term in enumerate(axes):
        if isinstance(term, Live) and term.group == name:
            yield value, k, axes
        elif isinstance(term, Prod) and term.parts and any(name == leaf.group for leaf in _leaves(term) if isinstance(leaf, Live)):
            spread = value.unflatten(k, [part.size for part in term.parts])
            yield from _occurrences(spread, [*axes[:k], *term.parts, *axes[k + 1 :]], name)
            return
        elif isinstance(term, Sum) and any(name == leaf.group for leaf in _leaves(term) if isinstance(leaf, Live)):
            for piece, part in zip(value.split([part.size for part in term.parts], k), term.parts, strict=True):
                if any(name == leaf.group for leaf in _leaves(part) if isinstance(leaf, Live)):
                    yield from _occurrences(piece, [*axes[:k], part, *axes[k + 1 :]], name)
            return


def _flat(value: Tensor, axis: int) -> Tensor:
    return value.movedim(axis, -1).reshape(-1, value.shape[axis])
