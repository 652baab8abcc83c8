"""The tensors of a network with other widths: pure arithmetic, without any module.

Every axis of a tensor says which groups lie on it, and how (symmetry/axes.py). A group's units are
selected on all axes at once. Pruning, folds into a budget and `resize` all go through here.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from onefold.arguments import checked
from onefold.errors import SymmetryError
from onefold.symmetry.action import selected_tensors
from onefold.symmetry.maps import fibre_shape
from onefold.symmetry.spec import SymmetrySpec
from onefold.widths.sizes import unequal_case


@checked
def resized_state(
    state: Mapping[str, Tensor], spec: SymmetrySpec, units: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The state dict of the network whose groups have other units.

    A unit that was not there before (-1) is dead: the scale of its norm and its running variance
    are 1, and everything else that makes or reads it is zero.

    Args:
        state: state dict of the network; it is left as it is.
        spec: symmetries of the network.
        units: group name -> int64, (C',), or (fibres..., C') for a group that differs by its
            `over`: the old units in their new order, -1 for a dead one. Fibres are numbered as
            before. Groups that are not named stay.

    Returns:
        All tensors by name. Those that no named group touches are the ones given. Tensors that are
        tied in the spec stay tied. The dtypes and devices stay.

    Raises:
        SymmetryError: a group is unknown or has no such units, a tensor is missing or of another
            shape than the spec says, or rows of one tensor would have unequal lengths.
    """
    check_units(spec, units)
    changed = selected_tensors(state, spec, units)
    tied = {name: names[0] for names in spec.tied for name in names}
    result = {}
    for name, tensor in state.items():
        first = tied.get(name, name)
        result[name] = changed.get(name, changed.get(first, tensor))
    return result


def check_units(spec: SymmetrySpec, units: Mapping[str, Tensor]) -> None:
    """Check that every group has the units that are named.

    Raises:
        SymmetryError: it has not.
    """
    for name, chosen in units.items():
        group = spec.group(name)
        fibres = fibre_shape(spec, group)
        if chosen.dtype.is_floating_point or tuple(chosen.shape[:-1]) not in ((), fibres):
            raise SymmetryError(
                f"The units of group {name} are a {chosen.dtype} tensor of shape"
                f" {tuple(chosen.shape)}; give int64 of shape (units,)"
                + (f" or {(*fibres, 'units')}." if fibres else ".")
            )
        if not chosen.numel() or int(chosen.min()) < -1 or int(chosen.max()) >= group.size:
            raise SymmetryError(
                f"Group {name} has the units 0 to {group.size - 1}; name at least one of them, and"
                " -1 for a dead one."
            )
    widths = {name: chosen.shape[-1] for name, chosen in units.items()}
    if unequal := unequal_case(spec, widths):
        tensor, names = unequal
        raise SymmetryError(
            f"The groups {', '.join(names)} lie at different indices of one axis of '{tensor}', so"
            " that they must have equally many units."
        )
