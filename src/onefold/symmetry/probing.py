"""Features of a group read from a node's value, and values of coordinates spread over an axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.symmetry.axes import Axes, Case, Fixed, Group, Live, Prod, Sum, Term, at_index
from onefold.symmetry.maps import leaves


def features(value: Tensor, axes: Axes, group: Group) -> Tensor:
    """The features of a group in a node's value, as (samples, C).

    If the group lies on several segments, or among other parts, all of them are samples. The result
    is a view if memory allows it: for a channels_last feature map and for (n, C) nothing is copied.

    Args:
        value: a tensor that a visitor received.
        axes: the node's terms, `spec.nodes[name]`.
        group: the group.

    Raises:
        SymmetryError: the group is not among the axes.
    """
    found = [_flat(piece, axis) for piece, axis, _ in _occurrences(value, list(axes), group.name)]
    if not found:
        raise SymmetryError(
            f"The node's axes hold no group {group.name}; take a node from the group's probes."
        )
    return found[0] if len(found) == 1 else torch.cat(found)


def fibre_features(value: Tensor, axes: Axes, group: Group) -> Tensor:
    """As `features`, but (fibres..., samples, C), from the first place of the group only.

    There is one leading axis for each atom of `group.over`.

    Raises:
        SymmetryError: the group, or one of the atoms it differs along, is not among the axes.
    """
    for first in all_fibre_features(value, axes, group):
        return first
    raise SymmetryError(
        f"The node's axes do not hold group {group.name} beside"
        f" {', '.join(group.over) or 'nothing'}; take a node from its probes."
    )


def all_fibre_features(value: Tensor, axes: Axes, group: Group) -> Iterator[Tensor]:
    """Yield `fibre_features` of every place of the group beside the atoms that it differs along."""
    for piece, axis, terms in _occurrences(value, list(axes), group.name):
        piece, axis, terms = _apart(piece, axis, terms, group.over)
        names = [_name(term) for term in terms]
        if all(h in names for h in group.over):
            where = [names.index(h) for h in group.over]
            order = [*where, *(k for k in range(piece.dim()) if k not in (*where, axis)), axis]
            moved = piece.permute(order)
            fibres, samples = moved.shape[: len(where)], moved.shape[len(where) : -1]
            yield moved.reshape(*fibres, math.prod(samples), moved.shape[-1])


def spread(term: Term, values: Mapping[str, Tensor], elsewhere: float) -> Tensor:
    """The values (term.size,) of the groups' coordinates at every place of an axis.

    If several groups meet at one place, their values are multiplied. Of cases, which another axis
    decides between, the mean is taken.

    Args:
        term: the axis.
        values: group name -> values (C,) of its coordinates.
        elsewhere: value at places of no such group.
    """
    if isinstance(term, Live | Fixed):
        of_group = values.get(term.group) if isinstance(term, Live) else None
        dtype = next(iter(values.values())).dtype
        return torch.full((term.size,), elsewhere, dtype=dtype) if of_group is None else of_group
    parts = [spread(part, values, elsewhere) for part in getattr(term, "parts", ())]
    if isinstance(term, Sum):
        return torch.cat(parts)
    if isinstance(term, Case):
        if all(torch.equal(part, parts[0]) for part in parts[1:]):
            return parts[0]
        return torch.stack(parts).double().mean(0).to(parts[0].dtype)
    whole = parts[0]
    for part in parts[1:]:
        left, right = whole[:, None].expand(-1, len(part)), part[None].expand(len(whole), -1)
        both = torch.where(right == elsewhere, left, left * right)
        whole = torch.where(left == elsewhere, right, both).reshape(-1)
    return whole


def _occurrences(
    value: Tensor, axes: list[Term], name: str
) -> Iterator[tuple[Tensor, int, list[Term]]]:
    """Yield (view of the value, axis in it, its terms) for every place of the group on one axis."""
    for k, term in enumerate(axes):
        if isinstance(term, Live) and term.group == name:
            yield value, k, axes
        elif isinstance(term, Prod) and term.parts and _holds(term, name):
            sizes = part_sizes(value.shape[k], term)
            inner = value.reshape(*value.shape[:k], *sizes, *value.shape[k + 1 :])
            yield from _occurrences(inner, [*axes[:k], *term.parts, *axes[k + 1 :]], name)
            return
        elif isinstance(term, Case) and _holds(term, name):
            names = [other.name if isinstance(other, Fixed) else None for other in axes]
            if term.index not in names:
                continue  # its index is inside another axis, which is split first
            at = names.index(term.index)
            others = axes[:at] + axes[at + 1 :]
            for number, piece in enumerate(value.unbind(at)):
                rest = [at_index(other, term.index, number) for other in others]
                yield from _occurrences(piece, rest, name)
            return
        elif isinstance(term, Sum) and _holds(term, name):
            pieces = torch.split(value, [part.size for part in term.parts], k)
            for piece, part in zip(pieces, term.parts, strict=True):
                if _holds(part, name):
                    yield from _occurrences(piece, [*axes[:k], part, *axes[k + 1 :]], name)
            return


def _apart(
    value: Tensor, axis: int, terms: list[Term], names: Sequence[str]
) -> tuple[Tensor, int, list[Term]]:
    """The same, with every other axis split that is a product with one of these names as a part."""
    for k in reversed(range(len(terms))):
        term = terms[k]
        if k == axis or not isinstance(term, Prod):
            continue
        if any(_name(part) in names for part in term.parts):
            sizes = part_sizes(value.shape[k], term)
            value = value.reshape(*value.shape[:k], *sizes, *value.shape[k + 1 :])
            terms = [*terms[:k], *term.parts, *terms[k + 1 :]]
            axis += len(term.parts) - 1 if k < axis else 0
    return value, axis, terms


def part_sizes(length: int, term: Prod) -> list[int]:
    """The sizes of an axis' parts.

    A part that stays in place may differ from the traced one: examples, times.

    Raises:
        SymmetryError: the axis has another length, and it cannot be known which part has.
    """
    sizes = [part.size for part in term.parts]
    if math.prod(sizes) == length:
        return sizes
    free = [k for k, part in enumerate(term.parts) if isinstance(part, Fixed)]
    if len(free) == 1 and length % (math.prod(sizes) // sizes[free[0]]) == 0:
        sizes[free[0]] = length // (math.prod(sizes) // sizes[free[0]])
        return sizes
    raise SymmetryError(
        f"An axis of length {length} was traced with {' x '.join(map(str, sizes))}, so that its"
        " features cannot be told apart; use inputs and batches of one size."
    )


def _name(term: Term) -> str | None:
    if isinstance(term, Live):
        return term.group
    return term.name if isinstance(term, Fixed) else None


def _flat(value: Tensor, axis: int) -> Tensor:
    return value.movedim(axis, -1).reshape(-1, value.shape[axis])


def _holds(term: Term, name: str) -> bool:
    return any(isinstance(leaf, Live) and leaf.group == name for leaf in leaves(term))
