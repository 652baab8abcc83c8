"""Features of the common basis back in one member's own: x = T^-1 h along one axis of one crossing
value.

Where every feature is a copy of one of the trunk's (a permutation; ZipIt's unmerge matrix, arXiv
2305.03053) it is a lookup, else a product.
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
    """One axis of the crossing value number `place`, seen as (features, after), by a lookup `index`
    (C,) or a `matrix` (C_member, C_trunk).
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
        spread = (
            value
            if self.after == 1
            else value.reshape(*shape[: self.axis], -1, self.after, *shape[self.axis + 1 :])
        )
        if self.index is not None:
            mapped = spread.index_select(self.axis, self.index)
        else:
            assert self.matrix is not None
            mapped = F.linear(spread.movedim(self.axis, -1), self.matrix).movedim(-1, self.axis)
        return mapped if self.after == 1 else mapped.flatten(self.axis, self.axis + 1)

    def extra_repr(self) -> str:
        return (
            f"place={self.place}, axis={self.axis},"
            f" {'lookup' if self.index is not None else 'matrix'}"
        )


def unmerges(
    place: int, terms: tuple[Term, ...], spec: SymmetrySpec, maps: dict[str, GroupMap], like: Tensor
) -> list[Unmerge]:
    """What brings a crossing value with these axes back. maps: group -> T as it acts on its
    features. like: whose dtype and device matrices have.

    Raises:
        AlignmentError: an axis holds several groups and is too wide for one matrix.
    """
    found = []
    for axis, term in enumerate(terms):
        if not any(name in maps for name in live_groups(term)):
            continue
        own, after = _single(term)
        if own.size > WIDEST and not isinstance(own, Live):
            raise AlignmentError(
                f"A value that crosses the cut has {own.size} mixed features, too many for one"
                " matrix; choose another place to cut."
            )
        matrix = back_matrix(own, spec, maps)
        if bool(((matrix != 0).sum(1) == 1).all()) and bool((matrix.sum(1) == 1).all()):
            index = matrix.argmax(1)
            if matrix.shape[1] == len(index) and torch.equal(index, torch.arange(len(index))):
                continue
            found.append(Unmerge(place, axis, after, index=index.to(like.device)))
        else:
            found.append(Unmerge(place, axis, after, matrix=matrix.to(like)))
    return found


def _single(term: Term) -> tuple[Term, int]:
    """A term that is one group before fixed parts (channels before positions), as the group and the
    number behind it; others as they are.
    """
    if (
        isinstance(term, Prod)
        and isinstance(term.parts[0], Live)
        and all(isinstance(part, Fixed) for part in term.parts[1:])
    ):
        return term.parts[0], term.size // term.parts[0].size
    return term, 1
