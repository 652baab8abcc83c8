"""Carry out maps on a state dict: permutations, positive scales, signs and dense matrices, each on
all slots of its group.

Where features change as x -> T x, what produces them changes as W -> T W, b -> T b, and what
consumes them as W -> W T^-1. Norm tensors follow: for a permutation all of them move; for a
positive scale c the weight, shift and mean take c and the variance v becomes c^2 (v + eps) - eps,
which makes the identity exact; for a sign only shift and mean change. Of a norm that the caller has
neutralised, so that it only shifts, a dense map changes mean and shift.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.symmetry.axes import Axes, Case, Fixed, Group, Live, Prod, Sum, Term, at_index
from onefold.symmetry.folding import is_folded
from onefold.symmetry.maps import GroupMap as GroupMap
from onefold.symmetry.maps import check_maps, is_rectangular, needs_folding
from onefold.symmetry.spec import SymmetrySpec

_CONSUMER = "consumer"
_UNCHANGED = {
    "scale": ("depthwise",),
    "sign": ("depthwise", "scale", "variance"),
    "dense": ("scale", "variance", "depthwise"),  # scales that are folded, so ones
}


def apply_maps(
    state: Mapping[str, Tensor], spec: SymmetrySpec, maps: Mapping[str, GroupMap]
) -> dict[str, Tensor]:
    """The state dict after the maps (group name -> map): a new dict of new tensors, of the same
    dtypes and devices.

    Groups without a map stay as they are, and so do entries that the spec does not know. Tensors
    that are tied in the spec stay tied.

    Raises:
        SymmetryError: a map's group does not exist or has another size, its kind cannot act on the
            group, or a tensor is missing or of another shape than the spec says; or it needs the
            scales of norms folded (see `fold_scales`), and they are not.
    """
    check_maps(spec, maps)
    turned = needs_folding(spec, maps)
    if turned and not is_folded(state, spec):
        raise SymmetryError(
            f"The dense map of group {turned[0]} needs the scales of norms in the weights behind"
            " them; apply fold_scales first."
        )
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


def mapped_tensors(
    state: Mapping[str, Tensor], spec: SymmetrySpec, maps: Mapping[str, GroupMap]
) -> dict[str, Tensor]:
    """Only the tensors that the maps change, as new tensors."""
    groups = {group.name: group for group in spec.groups}
    active = [groups[name] for name in _dependants_first(spec, maps)]
    tied = {name: names[0] for names in spec.tied for name in names}
    roles = {
        (slot.tensor, slot.axis, group.name): slot.role for group in active for slot in group.slots
    }
    eps = {norm.variance: norm.eps for norm in spec.norms} | spec.epsilons
    touched = {slot.tensor for group in active for slot in group.slots}
    changed: dict[str, Tensor] = {}
    for name, axes in spec.axes.items():
        first = tied.get(name, name)
        if first not in touched or (first != name and first in changed):
            continue
        if name not in state:
            raise SymmetryError(
                f"The state dict lacks '{name}', which the maps must change; pass the whole state"
                " dict of the network."
            )
        tensor = state[name]
        if tensor.dim() != len(axes) or any(
            n != term.size for n, term in zip(tensor.shape, axes, strict=True)
        ):
            wanted = tuple(term.size for term in axes)
            raise SymmetryError(
                f"'{name}' has shape {tuple(tensor.shape)}, but the symmetry spec says {wanted};"
                " find the symmetries again."
            )
        own = {(axis, group): role for (slot, axis, group), role in roles.items() if slot == first}
        changed[name] = _Action(active, maps, own, eps.get(first, 0.0)).on(tensor.detach(), axes)
    return changed


def map_features(
    value: Tensor, axes: Axes, spec: SymmetrySpec, maps: Mapping[str, GroupMap]
) -> Tensor:
    """What a tensor of features with these axes (a node's value, its mean, its covariance) becomes
    under the maps: x -> T x on every axis.

    Raises:
        SymmetryError: a map does not fit its group.
    """
    check_maps(spec, maps)
    active = [spec.group(name) for name in _dependants_first(spec, maps)]
    roles = {(axis, group.name): "producer" for axis in range(len(axes)) for group in active}
    return _Action(active, maps, roles, 0.0).on(value, axes)


def back_matrix(term: Term, spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> Tensor:
    """The matrix, float64, that takes the features of one axis from behind the maps back before
    them: x = B (T x), B the maps' own inverses.

    Raises:
        SymmetryError: a map does not fit its group, or depends on another axis.
    """
    check_maps(spec, maps)
    active = [spec.group(name) for name in _dependants_first(spec, maps)]
    eye = torch.eye(term.size, dtype=torch.float64)
    return _Action(active, maps, {(1, group.name): _CONSUMER for group in active}, 0.0).on(
        eye, (Fixed("", term.size), term)
    )


def _dependants_first(spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> list[str]:
    """Fibres are numbered as before any map, so a group goes before the groups that number its
    fibres.
    """
    over = {group.name: set(group.over) for group in spec.groups if group.name in maps}
    order: list[str] = []
    while over:
        ready = [
            name
            for name in over
            if not any(name in others for other, others in over.items() if other != name)
        ]
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
        if (
            result.untyped_storage()._cdata == tensor.untyped_storage()._cdata
        ):  # nothing had to change, and this is a view
            return tensor.clone()
        return result.to(tensor.dtype).contiguous()

    def _split(
        self, tensor: Tensor, axes: list[Term], origin: list[int], index: dict[str, int]
    ) -> Tensor:
        """Take products, cases and segments apart until every axis is one leaf; then act.

        Returns what `tensor` becomes, in shape.
        """
        for k, term in enumerate(axes):
            if isinstance(term, Prod) and term.parts:
                parts = [part.size for part in term.parts]
                inner = tensor.reshape(*tensor.shape[:k], *parts, *tensor.shape[k + 1 :])
                spread = [*origin[:k], *[origin[k]] * len(parts), *origin[k + 1 :]]
                done = self._split(inner, [*axes[:k], *term.parts, *axes[k + 1 :]], spread, index)
                return done.flatten(
                    k, k + len(parts) - 1
                )  # by axes and not by the old shape: the map may be into another width
        every = [case for term in axes for case in _cases(term)]
        index_axes = {term.name: k for k, term in enumerate(axes) if isinstance(term, Fixed)}
        case = next((case for case in every if case.index in index_axes), None)
        if case is not None:
            at = index_axes[case.index]
            pieces = []
            for value, piece in enumerate(tensor.unbind(at)):
                rest = [at_index(term, case.index, value) for k, term in enumerate(axes) if k != at]
                pieces.append(
                    self._split(
                        piece, rest, origin[:at] + origin[at + 1 :], {**index, case.index: value}
                    )
                )
            return torch.stack(pieces, at)
        for k, term in enumerate(axes):
            if isinstance(term, Sum):
                segments = torch.split(tensor, [part.size for part in term.parts], k)
                pieces = [
                    self._split(piece, [*axes[:k], part, *axes[k + 1 :]], origin, index)
                    for piece, part in zip(segments, term.parts, strict=True)
                ]
                return torch.cat(pieces, k)
        if every:  # an index may stand in one segment alone, so the segments were taken apart first
            name = every[0].index
            raise SymmetryError(
                f"The symmetry spec names the index '{name}', but the tensor has no such axis; find"
                " the symmetries again."
            )
        return self._act(tensor, axes, origin, index)

    def _act(
        self, tensor: Tensor, axes: list[Term], origin: list[int], index: dict[str, int]
    ) -> Tensor:
        for group in self.groups:
            for k, term in enumerate(axes):
                if isinstance(term, Live) and term.group == group.name:
                    tensor = self._map(
                        tensor, k, group, self.roles[(origin[k], group.name)], axes, origin, index
                    )
        return tensor

    def _map(
        self,
        tensor: Tensor,
        axis: int,
        group: Group,
        role: str,
        axes: list[Term],
        origin: list[int],
        index: dict[str, int],
    ) -> Tensor:
        group_map = self.maps[group.name]
        if role in _UNCHANGED.get(group_map.kind, ()):
            return (
                _resized(tensor, axis, group_map, role, self.eps)
                if is_rectangular(group_map)
                else tensor
            )
        matrix = group_map.kind == "dense"
        values = group_map.inverse if matrix and role == _CONSUMER else group_map.forward
        assert values is not None
        values = values.to(tensor.device)
        fibre_axes: list[int] = []
        if values.dim() > (2 if matrix else 1):
            where = [_fibre_axis(h, axis, axes, origin, index) for h in group.over]
            for k in reversed(range(len(where))):
                if where[k] is None:  # an index that was fixed on the way here
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


def _resized(tensor: Tensor, axis: int, group_map: GroupMap, role: str, eps: float) -> Tensor:
    """A folded scale or its variance in another width: whatever the width, such a norm only shifts."""
    shape = [*tensor.shape[:axis], group_map.forward.shape[0], *tensor.shape[axis + 1 :]]
    return tensor.new_full(shape, 1.0 - eps if role == "variance" else 1.0)


def _permute(tensor: Tensor, axis: int, forward: Tensor, fibre_axes: list[int]) -> Tensor:
    if not fibre_axes:
        return tensor.index_select(axis, forward)
    return tensor.gather(
        axis, _aligned(forward, fibre_axes, axis, tensor.dim()).expand(tensor.shape)
    )


def _multiply(
    tensor: Tensor, axis: int, matrix: Tensor, fibre_axes: list[int], transposed: bool
) -> Tensor:
    """Contract the axis with T (producers: T x), or with the inverse from the right (consumers: x
    T^-1).
    """
    wide = _wide(tensor.dtype)
    order = [*fibre_axes, *(k for k in range(tensor.dim()) if k not in (*fibre_axes, axis)), axis]
    moved = tensor.to(wide).permute(order)
    flat = moved.reshape(*moved.shape[: len(fibre_axes)], -1, moved.shape[-1])
    factor = matrix.to(wide)
    product = flat @ (factor if transposed else factor.transpose(-1, -2))
    back = [order.index(k) for k in range(tensor.dim())]
    return product.reshape(*moved.shape[:-1], product.shape[-1]).permute(back)


def _aligned(values: Tensor, fibre_axes: list[int], axis: int, rank: int) -> Tensor:
    """`values` (fibres..., C) with its axes at `fibre_axes` and `axis` of a tensor of that rank,
    and length one elsewhere.
    """
    targets = [*fibre_axes, axis]
    order = sorted(range(len(targets)), key=lambda k: targets[k])
    shape = [1] * rank
    for k in order:
        shape[targets[k]] = values.shape[k]
    return values.permute(order).reshape(shape)


def _fibre_axis(
    name: str, axis: int, axes: list[Term], origin: list[int], index: dict[str, int]
) -> int | None:
    """The axis that counts the fibres: the nearest of that name, on the same original axis if there
    is one.

    None: fixed by a case.
    """
    found = [
        k
        for k, term in enumerate(axes)
        if name in (getattr(term, "group", None), getattr(term, "name", None))
    ]
    same = [k for k in found if origin[k] == origin[axis]]
    if not found and name not in index:
        raise SymmetryError(
            f"A map differs along '{name}', which one of its tensors has not got; find the"
            " symmetries again."
        )
    nearest = same or found
    return nearest[0] if nearest else None


def _cases(term: Term) -> Iterator[Case]:
    if isinstance(term, Case):
        yield term
    elif isinstance(term, Prod | Sum):
        for part in term.parts:
            yield from _cases(part)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Maps are carried out in float64, also for weights of lower precision."""
    return dtype if dtype.is_complex else torch.float64
