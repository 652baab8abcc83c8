"""Members split at one place: the part to merge, and the part behind it that stays each one's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn

from onefold.alignment import Alignment, differ_in_width, trace_on, unequal_axes
from onefold.alignment.matchers import Matcher, feature_matchers
from onefold.batches import Data
from onefold.errors import MembersError
from onefold.fold.partial.labels import filled, largest
from onefold.symmetry.cutting import Cut, Cutting
from onefold.symmetry.parts import Piece, piece_behind


@dataclass(frozen=True)
class Split:
    """Members that were split at one place.

    Attributes:
        template: the member whose shapes the merged part has.
        cutting: the template's traced network.
        cut: the place.
        alike: networks of one set of shapes to merge; members with fewer labels are filled up.
        rests: the traced network of every member, and its part behind the cut.
    """

    template: nn.Module
    cutting: Cutting
    cut: Cut
    alike: list[nn.Module]
    rests: list[tuple[Cutting, Piece]]


def split_members(
    models: Sequence[nn.Module],
    data: Data,
    until: str | float,
    align: str | Matcher | Alignment,
    reference: int | None,
) -> Split:
    """Split all members at one place.

    Args:
        models: the members.
        data: batches to trace the network on.
        until: the module behind which to cut, or the share of the layers before the cut.
        align: how the members will be aligned, which says whether widths may differ.
        reference: the reference's number; None for a common basis.

    Raises:
        SymmetryError: the network cannot be cut there.
        MembersError: the members differ in more than their labels.
    """
    widths = differ_in_width(models) and _takes_widths(align)
    base = (align.reference if isinstance(align, Alignment) else reference) or 0
    template = models[base if widths else largest(models)]
    axes = unequal_axes(data)
    cutting = Cutting(trace_on(template, data, axes))
    cut = cutting.at(until)
    alike = list(models) if widths else filled(models, cutting, cut)
    return Split(
        template, cutting, cut, alike, _rests(models, template, (data, axes), cutting, cut)
    )


def _rests(
    models: Sequence[nn.Module],
    template: nn.Module,
    traced_on: tuple[Data, Collection[tuple[int, int]]],
    cutting: Cutting,
    cut: Cut,
) -> list[tuple[Cutting, Piece]]:
    """The part behind the cut of every member. Members of other shapes are traced by themselves."""
    shapes = {name: value.shape for name, value in template.state_dict().items()}
    common = (cutting, piece_behind(cutting, cut))
    rests = []
    for k, model in enumerate(models):
        if {name: value.shape for name, value in model.state_dict().items()} == shapes:
            rests.append(common)
            continue
        member_cutting = Cutting(trace_on(model, *traced_on))
        member_cut = member_cutting.at(cut.until)
        if member_cut.crossing != cut.crossing:
            raise MembersError(
                f"Member {k} hands other values over behind '{cut.until}' than the others; only"
                " networks with the same layers fit."
            )
        rests.append((member_cutting, piece_behind(member_cutting, member_cut)))
    return rests


def _takes_widths(align: str | Matcher | Alignment) -> bool:
    """Whether members of different widths can be aligned in this way."""
    if isinstance(align, Alignment):
        return align.specs is not None
    if isinstance(align, str):
        return align in feature_matchers and bool(feature_matchers.get(align).widths)
    return align.widths


def share_of(text: str) -> float | None:
    """The share of the layers that a text such as "50%" names: 0.5.

    None if it names no share above 0% and below 100%.
    """
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        return None
    return share if text.endswith("%") and 0 < share < 1 else None
