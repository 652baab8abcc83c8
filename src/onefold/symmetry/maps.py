"""Maps of one group's coordinates: permutations, selections, scales, signs and dense matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.symmetry.axes import Case, Fixed, Group, Live, Term
from onefold.symmetry.spec import SymmetrySpec

Kind = Literal["permutation", "selection", "scale", "sign", "dense"]


@dataclass(frozen=True, eq=False)
class GroupMap:
    """One map of a group's C coordinates.

    The leading axes of the tensors, if any, count the fibres: one for each atom of `Group.over`, in
    its order, numbered as they are before any map.

    Attributes:
        kind: class of the map.
        forward: tensor whose meaning depends on `kind`.
            "permutation": (..., C) int64, new[i] = old[forward[i]].
            "selection": (..., C') int64 of any length, new[i] = old[forward[i]]; a dead unit where
            it is -1.
            "scale": (..., C) positive numbers.
            "sign": (..., C) of +1 and -1.
            "dense": (..., C, C), the matrix T, new = T old; (C', C) into a network of another
            width.
        inverse: for "dense" the matrix that consumers are multiplied with, (..., C, C) or (C, C'):
            the inverse of T, or a pseudo-inverse.
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
        """The map that undoes this one.

        Raises:
            SymmetryError: the map is a selection, or it is dense and has no inverse.
        """
        if self.kind == "permutation":
            return GroupMap(self.kind, torch.argsort(self.forward, dim=-1))
        if self.kind == "selection":
            raise SymmetryError("A selection of coordinates has no inverse; use a permutation.")
        if self.kind == "dense":
            if self.inverse is None:
                raise SymmetryError(
                    "A dense map without its inverse cannot be inverted; give GroupMap both"
                    " matrices."
                )
            return GroupMap(self.kind, self.inverse, self.forward)
        return GroupMap(self.kind, 1 / self.forward.to(torch.float64))

    def then(self, other: GroupMap) -> GroupMap:
        """This map followed by `other`; maps of different kinds become a dense one.

        Raises:
            SymmetryError: the sizes differ.
        """
        if self.size != other.size:
            raise SymmetryError(
                f"Maps of {self.size} and {other.size} coordinates cannot follow each other; both"
                " must act on one group."
            )
        if self.kind == other.kind == "permutation":
            index = other.forward.expand_as(self.forward)
            return GroupMap("permutation", torch.gather(self.forward, -1, index))
        if self.kind == other.kind and self.kind in ("scale", "sign"):
            return GroupMap(self.kind, self.forward * other.forward)
        first, second = self.dense(), other.dense()
        assert first.inverse is not None
        assert second.inverse is not None
        return GroupMap("dense", second.forward @ first.forward, first.inverse @ second.inverse)

    def dense(self) -> GroupMap:
        """The same map as matrices, in float64 unless it is dense already.

        Raises:
            SymmetryError: the map is a selection, or it is dense and has no inverse.
        """
        if self.kind == "dense":
            if self.inverse is None:
                raise SymmetryError(
                    "A dense map needs its inverse for the consumers; give GroupMap both matrices."
                )
            return self
        if self.kind == "selection":
            raise SymmetryError("A selection of coordinates has no inverse; use a permutation.")
        if self.kind == "permutation":
            matrix = torch.nn.functional.one_hot(self.forward, self.size).to(torch.float64)
            return GroupMap("dense", matrix, matrix.transpose(-1, -2).contiguous())
        forward = self.forward.to(torch.float64)
        return GroupMap("dense", torch.diag_embed(forward), torch.diag_embed(1 / forward))


def check_maps(spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> None:
    """Check that every map fits its group; see `apply_maps`.

    Raises:
        SymmetryError: a map does not fit.
    """
    for name, group_map in maps.items():
        _check_map(spec, name, group_map)


def _check_map(spec: SymmetrySpec, name: str, group_map: GroupMap) -> None:
    group = spec.group(name)
    if group_map.kind == "selection":
        _check_selection(group, group_map.forward)
        return
    matrix = group_map.kind == "dense"
    trailing = (group.size, group.size) if matrix else (group.size,)
    fibres = fibre_shape(spec, group)
    shape = tuple(group_map.forward.shape)
    if is_rectangular(group_map) and shape[1:] == (group.size,) and group.dense:
        if group_map.inverse is None or tuple(group_map.inverse.shape) != shape[::-1]:
            raise SymmetryError(
                f"The dense map of group {name} into another width needs an inverse of shape"
                f" {shape[::-1]} for the consumers."
            )
        return
    if shape not in (trailing, (*fibres, *trailing)):
        raise SymmetryError(
            f"The {group_map.kind} map of group {name} has shape {shape}; it needs {trailing}"
            + (f" or {(*fibres, *trailing)}." if fibres else ".")
        )
    inverse = group_map.inverse
    if matrix and (inverse is None or inverse.shape != group_map.forward.shape):
        raise SymmetryError(
            f"The dense map of group {name} needs an inverse of shape {shape} for the"
            " consumers; give GroupMap both matrices."
        )
    if matrix and not group.dense and not _keeps_function(group.maps | group.folded, group_map):
        raise SymmetryError(
            f"Group {name} takes no dense map like this; it allows"
            f" {', '.join(sorted(group.maps | group.folded))}."
        )
    if group_map.kind == "permutation" and not _is_permutation(group_map.forward, group.size):
        raise SymmetryError(
            f"The map of group {name} is no permutation: each of 0 to {group.size - 1} must"
            " occur once."
        )
    if group_map.kind in ("scale", "sign") and group_map.kind not in group.maps:
        raise SymmetryError(
            f"Group {name} takes no {group_map.kind} map; it allows"
            f" {', '.join(sorted(group.maps))}."
        )


def _check_selection(group: Group, forward: Tensor) -> None:
    """Refuse a selection of coordinates that the group does not have."""
    if not forward.numel() or int(forward.min()) < -1 or int(forward.max()) >= group.size:
        raise SymmetryError(
            f"The selection of group {group.name} must hold at least one of its numbers, 0 to"
            f" {group.size - 1}, or -1 for a dead unit."
        )


def _is_permutation(forward: Tensor, size: int) -> bool:
    """Whether every row of `forward` holds each of 0 to size - 1 once."""
    identity = torch.arange(size, device=forward.device).expand(forward.shape)
    return torch.equal(torch.sort(forward, dim=-1).values, identity)


def is_rectangular(group_map: GroupMap) -> bool:
    """Whether a map leads into a network of another width."""
    return (
        group_map.kind == "dense"
        and group_map.forward.dim() == 2
        and group_map.forward.shape[0] != group_map.forward.shape[1]
    )


def needs_folding(spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> list[str]:
    """The groups whose maps keep the function only once the scales of norms are folded.

    The maps must have passed `check_maps`.
    """
    turned = [name for name, m in maps.items() if m.kind == "dense" and not spec.group(name).dense]
    return [name for name in turned if not _keeps_function(spec.group(name).maps, maps[name])]


def _keeps_function(allowed: frozenset[str], group_map: GroupMap) -> bool:
    """Whether a dense map is of one of the classes `allowed`, to the precision of its numbers."""
    forward, inverse = group_map.forward.to(torch.float64), group_map.inverse
    assert inverse is not None
    inverse = inverse.to(torch.float64)
    near = 1e-3 if group_map.forward.dtype.itemsize < 4 else 1e-5
    identity = torch.eye(group_map.size, dtype=torch.float64, device=forward.device)
    if not torch.allclose(forward @ inverse, identity, atol=near):
        return False
    orthogonal = torch.allclose(forward.transpose(-1, -2), inverse, atol=near)
    one = torch.ones((), dtype=torch.float64, device=forward.device)
    fixing = orthogonal and torch.allclose(forward.sum(-1), one, atol=near)
    return (
        "invertible" in allowed
        or (orthogonal and "orthogonal" in allowed)
        or (fixing and "orthogonal_mean" in allowed)
    )


def keeps_function(group: Group, group_map: GroupMap, *, folded: bool = False) -> bool:
    """Whether a network computes the same under a map of this group.

    Args:
        group: the group.
        group_map: map of its coordinates.
        folded: whether the scales of norms are in the weights behind them.
    """
    if group_map.kind != "dense":
        return group_map.kind == "permutation" or group_map.kind in group.maps
    square = not is_rectangular(group_map) and group_map.inverse is not None
    allowed = group.maps | group.folded if folded else group.maps
    return square and _keeps_function(allowed, group_map)


def fibre_shape(spec: SymmetrySpec, group: Group) -> tuple[int, ...]:
    """The number of values of each index atom of `group.over`."""
    if not group.over:
        return ()
    sizes = {other.name: other.size for other in spec.groups}
    for axes in (*spec.axes.values(), *spec.nodes.values()):
        parts = [leaf for term in axes for leaf in leaves(term)]
        sizes.update((leaf.name, leaf.size) for leaf in parts if isinstance(leaf, Fixed))
    return tuple(sizes[name] for name in group.over)


def leaves(term: Term) -> Iterator[Live | Fixed]:
    """Yield the live and fixed parts of a term, in order."""
    if isinstance(term, Live | Fixed):
        yield term
    else:
        for part in term.parts:
            yield from leaves(part)


def case_indices(term: Term) -> set[str]:
    """The names of the index atoms that the cases in a term depend on."""
    if isinstance(term, Live | Fixed):
        return set()
    inside = {index for part in term.parts for index in case_indices(part)}
    return inside | {term.index} if isinstance(term, Case) else inside


def dual_of(group_map: GroupMap) -> GroupMap:
    """The map of features that take the inverse transpose of this map."""
    if group_map.kind != "dense" or group_map.inverse is None:
        return group_map
    forward, inverse = group_map.forward.transpose(-1, -2), group_map.inverse.transpose(-1, -2)
    return GroupMap("dense", inverse, forward)


def maps_of_output(maps: Mapping[str, GroupMap], duals: Sequence[str]) -> dict[str, GroupMap]:
    """The maps of features of which the groups `duals` take the inverse transpose."""
    return {**maps, **{name: dual_of(maps[name]) for name in duals if name in maps}}
