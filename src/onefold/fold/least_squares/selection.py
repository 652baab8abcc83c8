"""Units taken from several members: as maps of each member, and as one state dict.

Where place i of a group holds unit u_i of member k_i, member k's map is a permutation that brings
its own units to their places, and whatever it does elsewhere is cut away: a tensor's element stays
if all of its places are the member's own. The sum over the members is then the members side by side
with the other units taken out. What the network puts out is the mean over the members, so tensors
whose outputs are no units (the last layer, its bias) enter with the members' shares.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.alignment import Alignment
from onefold.symmetry import GroupMap, SymmetrySpec
from onefold.symmetry.axes import Term, live_groups
from onefold.symmetry.probing import spread


@dataclass(frozen=True)
class Picks:
    """What fills a group's C places: the member (C,) and which of its units (C,), both int64.

    No unit is taken twice.
    """

    member: Tensor
    unit: Tensor

    @staticmethod
    def placed(units: Tensor, size: int, reference: int) -> Picks:
        """The picks for units numbered member * size + unit: the reference's own stay in their
        places, the others fill the rest in order.
        """
        member, unit = units // size, units % size
        own = member == reference
        place = torch.full((size,), -1)
        place[unit[own]] = torch.nonzero(own).flatten()
        place[place < 0] = torch.nonzero(~own).flatten()
        return Picks(member[place], unit[place])

    def map_of(self, member: int) -> GroupMap:
        """A permutation that brings the member's own units to their places; its other units fill
        the other places in order.
        """
        own = self.member == member
        taken = torch.zeros(len(own), dtype=torch.bool)
        taken[self.unit[own]] = True
        forward = self.unit.clone()
        forward[~own] = torch.nonzero(~taken).flatten()
        return GroupMap("permutation", forward)

    def owned(self, member: int) -> Tensor:
        """(C,) float64: 1 where the place is the member's."""
        return (self.member == member).double()


def alignment_of(
    picks: Mapping[str, Picks],
    alignment: Alignment | None,
    spec: SymmetrySpec,
    members: int,
    reference: int,
) -> Alignment:
    """The alignment with the picks' maps in place of its own for their groups."""
    maps = {name: tuple(own.map_of(k) for k in range(members)) for name, own in picks.items()}
    if alignment is not None:
        return dataclasses.replace(alignment, maps={**alignment.maps, **maps})
    return Alignment("none", spec, reference, members, maps, scores={}, conditions={}, matchers={})


def owned_places(
    spec: SymmetrySpec, term: Term, picks: Mapping[str, Picks], member: int
) -> Tensor | None:
    """(term.size,) float64: 1 where the axis's places are the member's, 0 where another's; None
    where no group of the picks is in the term.
    """
    names = [name for name in dict.fromkeys(live_groups(term)) if name in picks]
    return spread(term, {name: picks[name].owned(member) for name in names}, 1.0) if names else None


def side_by_side(
    states: Sequence[Mapping[str, Tensor]],
    spec: SymmetrySpec,
    picks: Mapping[str, Picks],
    shares: Sequence[float],
    average: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The members' mapped states as one. average: their plain weighted average, for tensors that
    hold no unit.
    """
    made = {
        (slot.tensor, slot.axis)
        for name in picks
        for slot in spec.group(name).slots
        if slot.role != "consumer"
    }
    tied = {name: names[0] for names in spec.tied for name in names}
    result: dict[str, Tensor] = {}
    for name, tensor in average.items():
        axes = spec.axes.get(name, ())
        if not tensor.is_floating_point() or not any(
            group in picks for term in axes for group in live_groups(term)
        ):
            result[name] = tensor.clone()
            continue
        total = torch.zeros_like(tensor, dtype=torch.float64)
        for k, state in enumerate(states):
            own = state[name].to(torch.float64)
            full = True
            for axis, term in enumerate(axes):
                places = owned_places(spec, term, picks, k)
                if places is not None:
                    own = own * places.to(own.device).reshape(
                        [-1 if a == axis else 1 for a in range(own.dim())]
                    )
                    full &= (tied.get(name, name), axis) not in made
            total += own * (shares[k] if full else 1.0)
        result[name] = total.to(tensor.dtype)
    return result
