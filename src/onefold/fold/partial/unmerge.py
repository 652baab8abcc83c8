"""Maps from the common basis back to one member's: x = T^-1 h along one axis of one crossing value.

If every feature is a copy of one of the trunk's (a permutation; ZipIt's unmerge matrix, arXiv
2305.03053) it is a lookup, otherwise a matrix product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.errors import AlignmentError
from onefold.symmetry import GroupMap, SymmetrySpec
from onefold.symmetry.action import back_matrix
from onefold.symmetry.axes import Fixed, Live, Prod, Term, live_groups

WIDEST = 8192  # of an axis of several groups, which needs one matrix for all of it


class Unmerge(nn.Module):
    """The map along one axis of one crossing value.

    Args:
        place: the number of the crossing value.
        axis: its axis, seen as (features, after).
        after: the number of positions behind each feature on that axis.
        index: a lookup (C_member,); None for a matrix.
        matrix: (C_member, C_trunk); None for a lookup.
    """

    index: Tensor | None
    matrix: Tensor | None

    def __init__(
        self,
        place: int,
        axis: int,
        after: int,
        *,
        index: Tensor | None = None,
        matrix: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.place, self.axis, self.after = place, axis, after
        self.register_buffer("index", index)
        self.register_buffer("matrix", matrix)

    def forward(self, value: Tensor) -> Tensor:
        """The value with its axis in the member's basis."""
        shape = value.shape
        spread = value
        if self.after != 1:
            spread = value.reshape(*shape[: self.axis], -1, self.after, *shape[self.axis + 1 :])
        if self.index is not None:
            mapped = spread.index_select(self.axis, self.index)
        else:
            assert self.matrix is not None
            mapped = F.linear(spread.movedim(self.axis, -1), self.matrix).movedim(-1, self.axis)
        return mapped if self.after == 1 else mapped.flatten(self.axis, self.axis + 1)

    def extra_repr(self) -> str:
        """The place, the axis and the kind, as torch prints them."""
        kind = "lookup" if self.index is not None else "matrix"
        return f"place={self.place}, axis={self.axis}, {kind}"


def unmerges(
    place: int, terms: tuple[Term, ...], spec: SymmetrySpec, maps: dict[str, GroupMap], like: Tensor
) -> list[Unmerge]:
    """The steps that bring a crossing value back.

    Args:
        place: the number of the crossing value.
        terms: its axes.
        spec: the network's symmetries.
        maps: group -> T as it acts on the group's features.
        like: a tensor whose dtype and device matrices get.

    Raises:
        AlignmentError: an axis holds several groups and is too wide for one matrix.
    """
    steps = []
    for axis, term in enumerate(terms):
        if not any(name in maps for name in live_groups(term)):
            continue
        mapped, after = _single(term)
        if mapped.size > WIDEST and not isinstance(mapped, Live):
            raise AlignmentError(
                f"A value that crosses the cut has {mapped.size} mixed features, too many for one"
                " matrix; choose another place to cut."
            )
        matrix = back_matrix(mapped, spec, maps)
        if bool(((matrix != 0).sum(1) == 1).all()) and bool((matrix.sum(1) == 1).all()):
            index = matrix.max(1).indices
            if matrix.shape[1] == len(index) and torch.equal(index, torch.arange(len(index))):
                continue
            steps.append(Unmerge(place, axis, after, index=index.to(like.device)))
        else:
            steps.append(Unmerge(place, axis, after, matrix=matrix.to(like)))
    return steps


def _single(term: Term) -> tuple[Term, int]:
    """The group of a term, and the number of positions behind each feature.

    This holds for one group before fixed parts (channels before positions). Other terms are
    returned as they are, with 1.
    """
    if not isinstance(term, Prod) or not isinstance(term.parts[0], Live):
        return term, 1
    if not all(isinstance(part, Fixed) for part in term.parts[1:]):
        return term, 1
    return term.parts[0], term.size // term.parts[0].size
