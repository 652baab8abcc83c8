"""Maps carried out on a state dict, each on all slots of its group.

If features change as x -> T x, what produces them changes as W -> T W, b -> T b, and what consumes
them as W -> W T^-1. Tensors of norms follow:

- permutation: all of them move.
- positive scale c: weight, shift and mean are multiplied with c. The variance v becomes c^2 (v +
eps) - eps, which makes the identity exact.
- sign: only shift and mean change.
- dense: only mean and shift change. The caller has neutralized the norm, so that it only shifts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.symmetry.axes import Axes, Case, Fixed, Group, Live, Prod, Sum, Term, at_index
from onefold.symmetry.folding import is_folded
from onefold.symmetry.maps import GroupMap as GroupMap
from onefold.symmetry.maps import check_maps, is_rectangular, needs_folding
from onefold.symmetry.order import concerned, in_turn
from onefold.symmetry.spec import SymmetrySpec

_CONSUMER = "consumer"
_UNCHANGED = {
    "scale": ("depthwise",),
    "sign": ("depthwise", "scale", "variance"),
    "dense": ("scale", "variance", "depthwise"),  # these scales are folded, hence ones
}


def apply_maps(
    state: Mapping[str, Tensor], spec: SymmetrySpec, maps: Mapping[str, GroupMap]
) -> dict[str, Tensor]:
    """The state dict after the maps: new tensors of the same dtypes and devices.

    Groups without a map stay as they are, and so do entries that the spec does not know. Tensors
    that are tied in the spec stay tied.

    Args:
        state: state dict of the network; it is left as it is.
        spec: symmetries of the network.
        maps: group name -> map.

    Raises:
        SymmetryError: a map's group does not exist or has another size, its kind cannot act on the
            group, or a tensor is missing or of another shape than the spec says. Also if a map
            needs the scales of norms folded (see `fold_scales`), and they are not.
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
    """The tensors that the maps change, as new tensors, without the others.

    Raises:
        SymmetryError: a tensor is missing or of another shape than the spec says.
    """
    active = in_turn(spec, maps)
    tied = {name: names[0] for names in spec.tied for name in names}
    roles: dict[str, dict[tuple[int, str], str]] = {}
    for name, (_, group) in active.items():
        for slot in group.slots:
            roles.setdefault(slot.tensor, {})[slot.axis, name] = slot.role
    eps = {norm.variance: norm.eps for norm in spec.norms} | spec.epsilons
    changed: dict[str, Tensor] = {}
    for name, axes in spec.axes.items():
        first = tied.get(name, name)
        if first not in roles or (first != name and first in changed):
            continue
        if name not in state:
            raise SymmetryError(
                f"The state dict lacks '{name}', which the maps must change; pass the whole state"
                " dict of the network."
            )
        tensor, wanted = state[name], tuple(term.size for term in axes)
        if tuple(tensor.shape) != wanted:
            raise SymmetryError(
                f"'{name}' has shape {tuple(tensor.shape)}, but the symmetry spec says {wanted};"
                " find the symmetries again."
            )
        action = _Action(active, maps, roles[first], eps.get(first, 0.0))
        changed[name] = action.on(tensor.detach(), axes)
    return changed


def selected_tensors(
    state: Mapping[str, Tensor], spec: SymmetrySpec, units: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of a network whose groups have other units, without the unchanged ones.

    A dead unit has the scale and the variance 1 and zeros everywhere else.

    Args:
        state: state dict of the network; it is left as it is.
        spec: symmetries of the network.
        units: group name -> (C',) or (fibres..., C') int64: the old units in their new order, -1
            for a dead one.

    Raises:
        SymmetryError: a tensor is missing or of another shape than the spec says.
    """
    maps = {name: GroupMap("selection", chosen) for name, chosen in units.items()}
    return mapped_tensors(state, spec, maps)


def map_features(
    value: Tensor, axes: Axes, spec: SymmetrySpec, maps: Mapping[str, GroupMap]
) -> Tensor:
    """A tensor of features after the maps: x -> T x on every axis.

    Args:
        value: features (a node's value, its mean, its covariance).
        axes: terms of its axes.
        spec: symmetries of the network.
        maps: group name -> map.

    Raises:
        SymmetryError: a map does not fit its group.
    """
    maps = concerned(spec, maps, axes)
    check_maps(spec, maps)
    active = in_turn(spec, maps)
    roles = {(axis, name): "producer" for axis in range(len(axes)) for name in active}
    return _Action(active, maps, roles, 0.0).on(value, axes)


def back_matrix(term: Term, spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> Tensor:
    """The matrix B, float64, that undoes the maps on the features of one axis: x = B (T x).

    It is built of the maps' own inverses.

    Args:
        term: axis of n coordinates before the maps.
        spec: symmetries of the network.
        maps: group name -> map.

    Returns:
        B (n, n'), with n' the length of the axis after the maps.

    Raises:
        SymmetryError: a map does not fit its group, or depends on another axis.
    """
    maps = concerned(spec, maps, (term,))
    check_maps(spec, maps)
    active = in_turn(spec, maps)
    eye = torch.eye(term.size, dtype=torch.float64)
    roles = {(1, name): _CONSUMER for name in active}
    return _Action(active, maps, roles, 0.0).on(eye, (Fixed("", term.size), term))


@dataclass(frozen=True)
class _Action:
    """The maps on one tensor.

    Attributes:
        groups: name of a group with a map -> its turn and the group (see `in_turn`).
        maps: group name -> map.
        roles: (axis of the tensor, group name) -> role of the group there.
        eps: number that the norm of a variance adds to it; 0 for other tensors.
    """

    groups: Mapping[str, tuple[int, Group]]
    maps: Mapping[str, GroupMap]
    roles: Mapping[tuple[int, str], str]
    eps: float

    def on(self, tensor: Tensor, axes: Axes) -> Tensor:
        """The tensor after the maps, of the same dtype."""
        result = self._split(tensor, list(axes), list(range(len(axes))), {})
        unchanged = result.untyped_storage()._cdata == tensor.untyped_storage()._cdata
        if unchanged:  # then the result is a view
            return tensor.clone()
        return result.to(tensor.dtype).contiguous()

    def _split(
        self, tensor: Tensor, axes: list[Term], origin: list[int], index: dict[str, int]
    ) -> Tensor:
        """Split products, cases and segments until every axis is one leaf; then act.

        Args:
            tensor: the tensor, or a part of it.
            axes: terms of its axes.
            origin: axis of the whole tensor that each axis is a part of.
            index: index atom -> value, for the cases that are fixed already.

        Returns:
            The tensor after the maps, with the axes in the same order.
        """
        for k, term in enumerate(axes):
            if isinstance(term, Prod) and term.parts:
                parts = [part.size for part in term.parts]
                inner = tensor.reshape(*tensor.shape[:k], *parts, *tensor.shape[k + 1 :])
                spread = [*origin[:k], *[origin[k]] * len(parts), *origin[k + 1 :]]
                done = self._split(inner, [*axes[:k], *term.parts, *axes[k + 1 :]], spread, index)
                # by axes and not by the old shape, since the map may lead to another width
                return done.flatten(k, k + len(parts) - 1)
        every = [case for term in axes for case in _cases(term)]
        index_axes = {term.name: k for k, term in enumerate(axes) if isinstance(term, Fixed)}
        case = next((case for case in every if case.index in index_axes), None)
        if case is not None:
            at = index_axes[case.index]
            pieces = []
            for value, piece in enumerate(tensor.unbind(at)):
                rest = [at_index(term, case.index, value) for k, term in enumerate(axes) if k != at]
                fixed = {**index, case.index: value}
                pieces.append(self._split(piece, rest, origin[:at] + origin[at + 1 :], fixed))
            return torch.stack(pieces, at)
        for k, term in enumerate(axes):
            if isinstance(term, Sum):
                segments = torch.split(tensor, [part.size for part in term.parts], k)
                pieces = [
                    self._split(piece, [*axes[:k], part, *axes[k + 1 :]], origin, index)
                    for piece, part in zip(segments, term.parts, strict=True)
                ]
                return torch.cat(pieces, k)
        if every:  # an index may lie in one segment alone, so the segments were split first
            name = every[0].index
            raise SymmetryError(
                f"The symmetry spec names the index '{name}', but the tensor has no such axis; find"
                " the symmetries again."
            )
        return self._act(tensor, axes, origin, index)

    def _act(
        self, tensor: Tensor, axes: list[Term], origin: list[int], index: dict[str, int]
    ) -> Tensor:
        """The tensor, whose axes are leaves, after the maps of all groups."""
        live = [
            (*self.groups[term.group], k)
            for k, term in enumerate(axes)
            if isinstance(term, Live) and term.group in self.groups
        ]
        for _, group, k in sorted(live, key=lambda found: found[0]):
            role = self.roles[(origin[k], group.name)]
            tensor = self._map(tensor, k, group, role, axes, origin, index)
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
        """The tensor after the map of one group on one axis."""
        group_map = self.maps[group.name]
        if role in _UNCHANGED.get(group_map.kind, ()):
            if is_rectangular(group_map):
                return _resized(tensor, axis, group_map, role, self.eps)
            return tensor
        matrix = group_map.kind == "dense"
        values = group_map.inverse if matrix and role == _CONSUMER else group_map.forward
        assert values is not None
        values = values.to(tensor.device)
        fibre_axes: list[int] = []
        if values.dim() > (2 if matrix else 1):
            where = [_fibre_axis(h, axis, axes, origin, index) for h in group.over]
            for k in reversed(range(len(where))):
                if where[k] is None:  # an index that a case fixed
                    values = values.select(k, index[group.over[k]])
            fibre_axes = [k for k in where if k is not None]
        if group_map.kind == "permutation":
            return _permute(tensor, axis, values, fibre_axes)
        if group_map.kind == "selection":
            return _select(tensor, axis, values, fibre_axes, float(role in ("scale", "variance")))
        if matrix:
            return _multiply(tensor, axis, values, fibre_axes, transposed=role == _CONSUMER)
        factor = _aligned(values.to(_wide(tensor.dtype)), fibre_axes, axis, tensor.dim())
        wide = tensor.to(_wide(tensor.dtype))
        if role == "variance":
            return factor.square() * (wide + self.eps) - self.eps
        return wide / factor if role == _CONSUMER else wide * factor


def _resized(tensor: Tensor, axis: int, group_map: GroupMap, role: str, eps: float) -> Tensor:
    """A folded scale or its variance in another width, in which the norm only shifts as well."""
    shape = [*tensor.shape[:axis], group_map.forward.shape[0], *tensor.shape[axis + 1 :]]
    return tensor.new_full(shape, 1.0 - eps if role == "variance" else 1.0)


def _permute(tensor: Tensor, axis: int, forward: Tensor, fibre_axes: list[int]) -> Tensor:
    """The tensor with the entries of one axis in the order of a permutation (fibres..., C)."""
    if not fibre_axes:
        return tensor.index_select(axis, forward)
    index = _aligned(forward, fibre_axes, axis, tensor.dim()).expand(tensor.shape)
    return tensor.gather(axis, index)


def _select(
    tensor: Tensor, axis: int, forward: Tensor, fibre_axes: list[int], dead: float
) -> Tensor:
    """The tensor with some entries of one axis (fibres..., C'), and `dead` where there is none."""
    found = forward.clamp_min(0)
    if fibre_axes:
        shape = [*tensor.shape[:axis], forward.shape[-1], *tensor.shape[axis + 1 :]]
        chosen = tensor.gather(axis, _aligned(found, fibre_axes, axis, tensor.dim()).expand(shape))
    else:
        chosen = tensor.index_select(axis, found)
    if bool((forward >= 0).all()):
        return chosen
    return chosen.masked_fill(_aligned(forward < 0, fibre_axes, axis, tensor.dim()), dead)


def _multiply(
    tensor: Tensor, axis: int, matrix: Tensor, fibre_axes: list[int], transposed: bool
) -> Tensor:
    """Contract the axis with a matrix: T x for producers, x T^-1 for consumers.

    Args:
        tensor: the tensor.
        axis: axis of the group's coordinates.
        matrix: T, or the inverse for consumers, (fibres..., C, C).
        fibre_axes: axes of the tensor that count the fibres.
        transposed: whether the matrix acts from the right, as for consumers.
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
    """`values` (fibres..., C) as a tensor of that rank, which broadcasts.

    Its axes are at `fibre_axes` and `axis`; the others have length one.
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
    """The axis that counts the fibres of index atom `name`; None if a case fixed it.

    It is the nearest axis of that name, on the same original axis if there is one there.
    """
    found = [
        k
        for k, term in enumerate(axes)
        if name in (getattr(term, "group", None), getattr(term, "name", None))
    ]
    same = [k for k in found if origin[k] == origin[axis]]
    if not found and name not in index:
        raise SymmetryError(
            f"A map differs along '{name}', which one of its tensors lacks; find the"
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
    """The dtype in which maps are carried out: float64, also for weights of lower precision."""
    return dtype if dtype.is_complex else torch.float64
