"""Maps of one group's coordinates: permutations, positive scales, signs and dense matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.symmetry.axes import Case, Fixed, Group, Live, Term
from onefold.symmetry.spec import SymmetrySpec

Kind = Literal["permutation", "scale", "sign", "dense"]


@dataclass(frozen=True, eq=False)
class GroupMap:
    """One map of a group's C coordinates.

    kind "permutation": `forward` (..., C) int64, new[i] = old[forward[i]]. "scale": `forward` (...,
    C) positive numbers. "sign": `forward` (..., C) of +1 and -1. "dense": `forward` (..., C, C) is
    T, new = T old, and `inverse` (..., C, C) is what consumers are multiplied with: the inverse of
    T, or a pseudo-inverse. The leading axes, if any, count the fibres: one for each atom of
    `Group.over`, in its order, numbered as they are before any map. Into a network of another width
    T is (C', C), its inverse (C, C').
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
                raise SymmetryError(
                    "A dense map without its inverse cannot be inverted; give GroupMap both"
                    " matrices."
                )
            return GroupMap(self.kind, self.inverse, self.forward)
        return GroupMap(self.kind, 1 / self.forward.to(torch.float64))

    def then(self, other: GroupMap) -> GroupMap:
        """This map followed by `other`.

        Maps of different kinds become a dense one. Raises SymmetryError where the sizes differ.
        """
        if self.size != other.size:
            raise SymmetryError(
                f"Maps of {self.size} and {other.size} coordinates cannot follow each other; both"
                " must act on one group."
            )
        if self.kind == other.kind == "permutation":
            return GroupMap(
                "permutation", torch.gather(self.forward, -1, other.forward.expand_as(self.forward))
            )
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
                raise SymmetryError(
                    "A dense map needs its inverse for the consumers; give GroupMap both matrices."
                )
            return self
        if self.kind == "permutation":
            matrix = torch.nn.functional.one_hot(self.forward, self.size).to(torch.float64)
            return GroupMap("dense", matrix, matrix.transpose(-1, -2).contiguous())
        forward = self.forward.to(torch.float64)
        return GroupMap("dense", torch.diag_embed(forward), torch.diag_embed(1 / forward))


def check_maps(spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> None:
    """Raises SymmetryError where a map does not fit its group; see `apply_maps`."""
    for name, group_map in maps.items():
        group = spec.group(name)
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
            continue
        if shape not in (trailing, (*fibres, *trailing)):
            raise SymmetryError(
                f"The {group_map.kind} map of group {name} has shape {shape}; it needs {trailing}"
                + (f" or {(*fibres, *trailing)}." if fibres else ".")
            )
        if matrix and (
            group_map.inverse is None or group_map.inverse.shape != group_map.forward.shape
        ):
            raise SymmetryError(
                f"The dense map of group {name} needs an inverse of shape {shape} for the"
                " consumers; give GroupMap both matrices."
            )
        if matrix and not group.dense and not _keeps_function(group.maps | group.folded, group_map):
            raise SymmetryError(
                f"Group {name} takes no dense map like this; it allows"
                f" {', '.join(sorted(group.maps | group.folded))}."
            )
        if group_map.kind == "permutation" and not torch.equal(
            torch.sort(group_map.forward, dim=-1).values,
            torch.arange(group.size, device=group_map.forward.device).expand(shape),
        ):
            raise SymmetryError(
                f"The map of group {name} is no permutation: each of 0 to {group.size - 1} must"
                " occur once."
            )
        if group_map.kind in ("scale", "sign") and group_map.kind not in group.maps:
            raise SymmetryError(
                f"Group {name} takes no {group_map.kind} map; it allows"
                f" {', '.join(sorted(group.maps))}."
            )


def is_rectangular(group_map: GroupMap) -> bool:
    """Whether a map leads into a network of another width."""
    return (
        group_map.kind == "dense"
        and group_map.forward.dim() == 2
        and group_map.forward.shape[0] != group_map.forward.shape[1]
    )


def needs_folding(spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> list[str]:
    """The groups whose maps keep the function only once the scales of norms are folded.

    The maps have passed `check_maps`.
    """
    turned = [name for name, m in maps.items() if m.kind == "dense" and not spec.group(name).dense]
    return [name for name in turned if not _keeps_function(spec.group(name).maps, maps[name])]


def _keeps_function(allowed: frozenset[str], group_map: GroupMap) -> bool:
    """Whether a dense map is of one of these classes, to the precision of its own numbers."""
    forward, inverse = group_map.forward.to(torch.float64), group_map.inverse
    assert inverse is not None
    inverse = inverse.to(torch.float64)
    near = 1e-3 if group_map.forward.dtype.itemsize < 4 else 1e-5
    if not torch.allclose(
        forward @ inverse,
        torch.eye(group_map.size, dtype=torch.float64, device=forward.device),
        atol=near,
    ):
        return False
    orthogonal = torch.allclose(forward.transpose(-1, -2), inverse, atol=near)
    fixing = orthogonal and torch.allclose(
        forward.sum(-1), torch.ones((), dtype=torch.float64, device=forward.device), atol=near
    )
    return (
        "invertible" in allowed
        or (orthogonal and "orthogonal" in allowed)
        or (fixing and "orthogonal_mean" in allowed)
    )


def keeps_function(group: Group, group_map: GroupMap, *, folded: bool = False) -> bool:
    """Whether a network computes the same under a map of this group. folded: the scales of norms
    are in the weights behind them.
    """
    if group_map.kind != "dense":
        return group_map.kind == "permutation" or group_map.kind in group.maps
    square = not is_rectangular(group_map) and group_map.inverse is not None
    return square and _keeps_function(
        group.maps | (group.folded if folded else frozenset()), group_map
    )


def fibre_shape(spec: SymmetrySpec, group: Group) -> tuple[int, ...]:
    """How many values each index atom of `group.over` has."""
    if not group.over:
        return ()
    sizes = {other.name: other.size for other in spec.groups}
    for axes in (*spec.axes.values(), *spec.nodes.values()):
        sizes.update(
            (leaf.name, leaf.size)
            for term in axes
            for leaf in leaves(term)
            if isinstance(leaf, Fixed)
        )
    return tuple(sizes[name] for name in group.over)


def leaves(term: Term) -> Iterator[Live | Fixed]:
    """The live and fixed parts of a term, in order."""
    if isinstance(term, Live | Fixed):
        yield term
    else:
        for part in term.parts:
            yield from leaves(part)


def case_indices(term: Term) -> set[str]:
    """What the cases in a term are told apart by."""
    if isinstance(term, Live | Fixed):
        return set()
    return {index for part in term.parts for index in case_indices(part)} | (
        {term.index} if isinstance(term, Case) else set()
    )


def dual_of(group_map: GroupMap) -> GroupMap:
    """The map of features that take the inverse transpose."""
    if group_map.kind != "dense" or group_map.inverse is None:
        return group_map
    return GroupMap(
        "dense", group_map.inverse.transpose(-1, -2), group_map.forward.transpose(-1, -2)
    )


def maps_of_output(maps: Mapping[str, GroupMap], duals: Sequence[str]) -> dict[str, GroupMap]:
    """The maps as they act on features where those of the groups `duals` take the inverse
    transpose.
    """
    return {name: dual_of(m) if name in duals else m for name, m in maps.items()}
