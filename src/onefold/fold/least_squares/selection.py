"""Units selected from several members: as maps of each member, and as one state dict.

If place i of a group holds unit u_i of member k_i, member k's map brings its own units to their
places: a permutation if there are as many places as units. All else is cut away: a tensor's element
stays if all of its places belong to the member. The sum over the members is then the members side
by side without the other units.

The network's output is the mean over the members. So tensors whose outputs are no units (the last
layer, its bias) enter with the members' shares.
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
from onefold.widths.units import DEAD


@dataclass(frozen=True)
class UnitSelection:
    """The units that fill a group's places, as many as it has or another number N of them.

    No unit is used twice.

    Attributes:
        member: the member of every place (N,), int64.
        unit: its unit in that place (N,), int64.
        size: C, the number of units of each member; None: N.
    """

    member: Tensor
    unit: Tensor
    size: int | None = None

    @staticmethod
    def placed(units: Tensor, size: int, reference: int) -> UnitSelection:
        """The selection for units numbered member * size + unit.

        The reference's own units stay in their places. The others fill the rest in order.
        """
        member, unit = units // size, units % size
        own = member == reference
        place = torch.full((size,), -1)
        place[unit[own]] = torch.nonzero(own).flatten()
        place[place < 0] = torch.nonzero(~own).flatten()
        return UnitSelection(member[place], unit[place])

    @staticmethod
    def ordered(units: Tensor, size: int, reference: int) -> UnitSelection:
        """The selection for any number of units numbered member * size + unit.

        The reference's come first, then the other members', each in their order.
        """
        units = units.sort().values
        member, unit = units // size, units % size
        order = (member != reference).long().argsort(stable=True)
        return UnitSelection(member[order], unit[order], size)

    @property
    def resizes(self) -> bool:
        """Whether there are other numbers of places than of a member's units."""
        return self.size is not None and self.size != len(self.unit)

    def map_of(self, member: int) -> GroupMap:
        """A map that brings the member's selected units to their places.

        It is a permutation if there are as many places as units, and its other units fill the other
        places in order. Else these hold dead units.
        """
        own = self.member == member
        if self.resizes:
            return GroupMap("selection", torch.where(own, self.unit, DEAD))
        taken = torch.zeros(len(own), dtype=torch.bool)
        taken[self.unit[own]] = True
        forward = self.unit.clone()
        forward[~own] = torch.nonzero(~taken).flatten()
        return GroupMap("permutation", forward)

    def owned(self, member: int) -> Tensor:
        """(N,) float64: 1 if the place belongs to the member."""
        return (self.member == member).double()


def alignment_of(
    selections: Mapping[str, UnitSelection],
    alignment: Alignment | None,
    spec: SymmetrySpec,
    members: int,
    reference: int,
) -> Alignment:
    """The alignment with the selections' maps in place of its own for their groups."""
    maps = {name: tuple(own.map_of(k) for k in range(members)) for name, own in selections.items()}
    if alignment is not None:
        return dataclasses.replace(alignment, maps={**alignment.maps, **maps})
    return Alignment("none", spec, reference, members, maps, scores={}, conditions={}, matchers={})


def owned_places(
    spec: SymmetrySpec, term: Term, selections: Mapping[str, UnitSelection], member: int
) -> Tensor | None:
    """The places of an axis that belong to the member, (term.size,) float64.

    1 if a place belongs to the member, 0 if to another. None if the term holds no selected group.
    """
    names = [name for name in dict.fromkeys(live_groups(term)) if name in selections]
    return (
        spread(term, {name: selections[name].owned(member) for name in names}, 1.0)
        if names
        else None
    )


def side_by_side(
    states: Sequence[Mapping[str, Tensor]],
    spec: SymmetrySpec,
    selections: Mapping[str, UnitSelection],
    shares: Sequence[float],
    average: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The members' mapped states as one.

    Args:
        states: the members' states, mapped by `alignment_of`.
        spec: the network's symmetries.
        selections: group -> its units.
        shares: the members' weights, which sum to 1.
        average: the plain weighted average, for tensors that hold no unit.
    """
    made = {
        (slot.tensor, slot.axis)
        for name in selections
        for slot in spec.group(name).slots
        if slot.role != "consumer"
    }
    tied = {name: names[0] for names in spec.tied for name in names}
    result: dict[str, Tensor] = {}
    for name, tensor in average.items():
        axes = spec.axes.get(name, ())
        if not tensor.is_floating_point() or not any(
            group in selections for term in axes for group in live_groups(term)
        ):
            result[name] = tensor.clone()
            continue
        total = torch.zeros_like(states[0][name], dtype=torch.float64)
        for k, state in enumerate(states):
            own = state[name].to(torch.float64)
            full = True
            for axis, term in enumerate(axes):
                places = owned_places(spec, term, selections, k)
                if places is not None:
                    shape = [-1 if a == axis else 1 for a in range(own.dim())]
                    own = own * places.to(own.device).reshape(shape)
                    full &= (tied.get(name, name), axis) not in made
            total += own * (shares[k] if full else 1.0)
        result[name] = total.to(tensor.dtype)
    return result
