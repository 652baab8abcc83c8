"""Read a group's features out of a node's value, and put values of its coordinates where they
stand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.symmetry.axes import Axes, Case, Fixed, Group, Live, Prod, Sum, Term, at_index
from onefold.symmetry.maps import leaves


def features(value: Tensor, axes: Axes, group: Group) -> Tensor:
    """The features of a group in a node's value, as (samples, C): a view where memory allows it.

    value: a tensor that a visitor received. axes: the node's terms, `spec.nodes[name]`. Where the
    group stands on several segments, or among other parts, all of them are samples. For a
    channels_last feature map and for (n, C) nothing is copied.

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
    """As `features`, but (fibres..., samples, C), with one leading axis for each atom of
    `group.over`, and of the first place only.

    Raises:
        SymmetryError: the group, or one of the atoms it differs along, is not among the axes.
    """
    for found in all_fibre_features(value, axes, group):
        return found
    raise SymmetryError(
        f"The node's axes do not hold group {group.name} beside"
        f" {', '.join(group.over) or 'nothing'}; take a node from its probes."
    )


def all_fibre_features(value: Tensor, axes: Axes, group: Group) -> Iterator[Tensor]:
    """The same of every place where the group stands beside the atoms that it differs along."""
    for piece, axis, terms in _occurrences(value, list(axes), group.name):
        piece, axis, terms = _apart(piece, axis, terms, group.over)
        names = [_name(term) for term in terms]
        if all(h in names for h in group.over):
            where = [names.index(h) for h in group.over]
            order = [*where, *(k for k in range(piece.dim()) if k not in (*where, axis)), axis]
            moved = piece.permute(order)
            yield moved.reshape(
                *moved.shape[: len(where)], math.prod(moved.shape[len(where) : -1]), moved.shape[-1]
            )


def spread(term: Term, values: Mapping[str, Tensor], elsewhere: float) -> Tensor:
    """(term.size,): at every place of an axis the value of the group's coordinate that stands
    there, or `elsewhere` where no such group does; of several groups at one place the product.
    """
    if isinstance(term, Live | Fixed):
        own = values.get(term.group) if isinstance(term, Live) else None
        some = next(iter(values.values()))
        return own if own is not None else torch.full((term.size,), elsewhere, dtype=some.dtype)
    parts = [spread(part, values, elsewhere) for part in getattr(term, "parts", ())]
    if isinstance(term, Sum):
        return torch.cat(parts)
    whole = parts[0]
    for part in parts[1:]:
        left, right = whole[:, None].expand(-1, len(part)), part[None].expand(len(whole), -1)
        joined = torch.where(
            left == elsewhere, right, torch.where(right == elsewhere, left, left * right)
        )
        whole = joined.reshape(-1)
    return whole


def _occurrences(
    value: Tensor, axes: list[Term], name: str
) -> Iterator[tuple[Tensor, int, list[Term]]]:
    """Every (view of the value, axis in it, its terms) where the group fills one axis."""
    for k, term in enumerate(axes):
        if isinstance(term, Live) and term.group == name:
            yield value, k, axes
        elif isinstance(term, Prod) and term.parts and _holds(term, name):
            spread = value.reshape(
                *value.shape[:k], *_sizes(value.shape[k], term), *value.shape[k + 1 :]
            )
            yield from _occurrences(spread, [*axes[:k], *term.parts, *axes[k + 1 :]], name)
            return
        elif isinstance(term, Case) and _holds(term, name):
            at = [
                j
                for j, other in enumerate(axes)
                if isinstance(other, Fixed) and other.name == term.index
            ]
            if not at:
                continue  # its index is inside another axis, which is taken apart first
            for number, piece in enumerate(value.unbind(at[0])):
                yield from _occurrences(
                    piece,
                    [
                        at_index(other, term.index, number)
                        for j, other in enumerate(axes)
                        if j != at[0]
                    ],
                    name,
                )
            return
        elif isinstance(term, Sum) and _holds(term, name):
            for piece, part in zip(
                torch.split(value, [part.size for part in term.parts], k), term.parts, strict=True
            ):
                if _holds(part, name):
                    yield from _occurrences(piece, [*axes[:k], part, *axes[k + 1 :]], name)
            return


def _apart(
    value: Tensor, axis: int, terms: list[Term], names: Sequence[str]
) -> tuple[Tensor, int, list[Term]]:
    """The same with every other axis that is a product of one of these names taken apart."""
    for k in reversed(range(len(terms))):
        term = terms[k]
        if (
            k != axis
            and isinstance(term, Prod)
            and any(_name(part) in names for part in term.parts)
        ):
            value = value.reshape(
                *value.shape[:k], *_sizes(value.shape[k], term), *value.shape[k + 1 :]
            )
            terms = [*terms[:k], *term.parts, *terms[k + 1 :]]
            axis += len(term.parts) - 1 if k < axis else 0
    return value, axis, terms


def _sizes(length: int, term: Prod) -> list[int]:
    """The sizes of an axis' parts.

    One that stays in place may differ from the traced: examples, times.

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
    return term.group if isinstance(term, Live) else term.name if isinstance(term, Fixed) else None


def _flat(value: Tensor, axis: int) -> Tensor:
    return value.movedim(axis, -1).reshape(-1, value.shape[axis])


def _holds(term: Term, name: str) -> bool:
    return any(isinstance(leaf, Live) and leaf.group == name for leaf in leaves(term))
