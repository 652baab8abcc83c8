"""A network of the same class with other widths.

The network is copied with other tensors in place of those that change (`resized_state`), and the
sizes that its modules keep are set to fit (widths/modules.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from onefold.arguments import checked
from onefold.caches import clear_eval_caches
from onefold.errors import WidthsError
from onefold.isolation import isolated
from onefold.symmetry import example_batch
from onefold.symmetry.spec import SymmetrySpec
from onefold.widths.attributes import choices_of
from onefold.widths.copies import tensors_of, with_tensors
from onefold.widths.mark import mark
from onefold.widths.modules import Place, has_rule, set_sizes, tied_by_modules
from onefold.widths.search import Outcome, find_sizes, on_device_of
from onefold.widths.state import resized_state
from onefold.widths.units import chosen_units

M = TypeVar("M", bound=nn.Module)


@checked
@isolated
def resize(
    model: M,
    spec: SymmetrySpec,
    widths: Mapping[str, int | Sequence[int]],
    *,
    example_inputs: Any = None,
    round_to: int = 1,
) -> M:
    """A network of the same class whose groups have other widths.

    A narrower group keeps its first units, or those that are listed. The further units of a wider
    group are dead: all weights that make or read them are zero, and the scales and variances of
    norms are 1.

    Args:
        model: the network; it is left as it is.
        spec: its symmetries, of `onefold.find_symmetries`.
        widths: group name -> number of units, or the numbers of the units that stay, in their new
            order. Other groups stay, but those that one size of a module counts together with a
            named one, as the states of all layers of an LSTM, get its width.
        example_inputs: one batch, as for `find_symmetries`.
        round_to: numbers of units become multiples of it, upwards; a narrower group never becomes
            wider by it than it was. Heads stay whole.

    Returns:
        A deep copy with changed parameters, buffers and sizes, on the same device, in the same
        mode. It trains, exports and is saved as any other network of its class.

    Raises:
        WidthsError: a group is unknown, a width is no number of units, or a module cannot have
            it.
        SymmetryError: the spec does not fit the network.
        MembersError: the network cannot be copied.
    """
    tied = tied_by_modules(model, spec)
    units = chosen_units(spec, widths, round_to=round_to, tied=tied)
    sizes = {name: chosen.shape[-1] for name, chosen in units.items()}
    result, outcome = _made(model, spec, units, example_inputs)
    if outcome is not None and not outcome.proved:
        alone = {name: units[name] for name in units if len(units) > 1}
        refused = [
            name
            for name, chosen in alone.items()
            if (one := _made(model, spec, {name: chosen}, example_inputs)[1]) and not one.proved
        ]
        raise WidthsError(_refusal(model, outcome, sizes, refused or list(units)))
    mark(result, model, spec, sizes)
    return result


def _made(
    model: M, spec: SymmetrySpec, units: Mapping[str, Tensor], example_inputs: Any
) -> tuple[M, Outcome | None]:
    """The network with these units, and what its proof says if there are inputs for one."""
    sizes = {name: chosen.shape[-1] for name, chosen in units.items()}
    old = tensors_of(model)
    state = {name: tensor.detach() for name, tensor in old.items()}
    tensors = resized_state(state, spec, units)
    new = {name: tensor for name, tensor in tensors.items() if tensor is not state[name]}
    result = with_tensors(model, new)
    for name, module in result.named_modules():
        prefix = f"{name}." if name else ""
        if has_rule(module) and any(tensor.startswith(prefix) for tensor in new):
            axes = {
                tensor[len(prefix) :]: terms
                for tensor, terms in spec.axes.items()
                if tensor.startswith(prefix)
            }
            set_sizes(Place(name, module, axes, sizes))
    clear_eval_caches(result)
    choices = choices_of(result, spec.axes, sizes)
    for choice in choices:
        choice.take(0)
    if example_inputs is None:
        return result, None
    batch = on_device_of(result, example_batch(example_inputs))
    return result, find_sizes(result, choices, batch, spec, sizes)


def _refusal(
    model: nn.Module, outcome: Outcome, sizes: Mapping[str, int], groups: Sequence[str]
) -> str:
    """Why a network cannot have such widths, as one sentence that names the module and group."""
    asked = ", ".join(f"{name} ({sizes[name]} units)" for name in groups[:4])
    asked += f" and {len(groups) - 4} more" if len(groups) > 4 else ""
    inner = outcome.where[-1] if outcome.where else ""
    module = f"its module '{inner}'" if inner else "its forward"
    what = "group" if len(groups) == 1 else "groups"
    return (
        f"{type(model).__name__} cannot run with another width of {what} {asked}, as {module} has"
        f" a width written into its code or ties it to another group ({outcome.reason}); leave"
        f" {'it' if len(groups) == 1 else 'them'} as it was, or resize what is tied together."
    )
