"""A network of the same class with other widths.

The network is copied with other tensors in place of those that change (`resized_state`), the sizes
that its modules keep are set to fit (widths/making.py), and the result is proved by running it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Batch
from onefold.errors import WidthsError
from onefold.isolation import isolated
from onefold.symmetry import example_batch
from onefold.symmetry.spec import SymmetrySpec
from onefold.widths.making import make
from onefold.widths.mark import mark
from onefold.widths.search import Outcome, on_device_of, run
from onefold.widths.ties import same_heads, tied_groups, with_attention
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
            order. Other groups stay, but those that one number of a module counts together with a
            named one (`tied_groups`) get its width, and so do further features of the same heads
            where the network does not run otherwise.
        example_inputs: one batch, as for `find_symmetries`, by which the result is proved: it runs,
            and its own symmetries are these with the new widths. Without them, the sizes that
            modules other than torch's keep are those that they most likely are, and nothing is run.
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
    tied = tied_groups(model, spec)
    units = chosen_units(spec, widths, round_to=round_to, tied=tied)
    units = with_attention(model, spec, units)
    batch = None if example_inputs is None else example_batch(example_inputs)
    made = make(model, spec, units, batch)
    if made.refused and set(together := same_heads(spec, units)) > set(units):
        other = make(model, spec, together, batch)
        made, units = (made, units) if other.refused else (other, together)
    sizes = {name: chosen.shape[-1] for name, chosen in units.items()}
    if made.outcome is not None and made.refused:
        alone = [name for name in units if not _runs_alone(model, spec, name, units[name], batch)]
        raise WidthsError(_refusal(model, made.outcome, sizes, alone or list(units)))
    mark(made.network, model, spec, sizes, said=made.said)
    return made.network


def _runs_alone(
    model: nn.Module, spec: SymmetrySpec, name: str, units: Tensor, batch: Batch | None
) -> bool:
    """Whether the network runs with this group alone in its new width, at a first look."""
    try:
        network = make(model, spec, {name: units}, None).network
    except WidthsError:
        return False
    return batch is None or run(network, on_device_of(network, batch)).ran


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
