"""A network made with other units, in the order in which its sizes are looked for.

1. The rules of torch's own modules (widths/modules.py).
2. A config of transformers, where it can say the widths: the class knows the rest
   (widths/config.py).
3. What the attributes of other modules counted before, by trial (attributes.py, search.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor, nn

from onefold.batches import Batch
from onefold.caches import clear_eval_caches
from onefold.symmetry.spec import SymmetrySpec
from onefold.widths.attributes import choices_of
from onefold.widths.config import fit_configs
from onefold.widths.copies import tensors_of, with_tensors
from onefold.widths.modules import Place, has_rule, set_sizes
from onefold.widths.search import MOST_RUNS, Outcome, find_sizes, on_device_of, tried
from onefold.widths.state import resized_state

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Made(Generic[M]):
    """A network with other widths.

    Attributes:
        network: the network.
        outcome: its proof; None without example inputs.
        said: whether it has a config, which says all its widths.
    """

    network: M
    outcome: Outcome | None
    said: bool

    @property
    def refused(self) -> bool:
        """Whether it was run and is not what it shall be."""
        return self.outcome is not None and not self.outcome.proved


def make(
    model: M,
    spec: SymmetrySpec,
    units: Mapping[str, Tensor],
    batch: Batch | None,
    *,
    most: int = MOST_RUNS,
) -> Made[M]:
    """The network with these units.

    Args:
        model: the network; it is left as it is.
        spec: its symmetries.
        units: group name -> its units, as `resized_state` takes them.
        batch: example inputs for the proof; None for none.
        most: runs of the network at most.

    Raises:
        WidthsError: a module of torch cannot have such tensors.
        SymmetryError: the spec does not fit the network.
        MembersError: the network cannot be copied.
    """
    widths = {name: chosen.shape[-1] for name, chosen in units.items()}
    network = _with_units(model, spec, units)
    said = fit_configs(network, model, spec.axes, widths, proved=False)
    if batch is not None:
        batch = on_device_of(network, batch)
    if said:
        outcome = None if batch is None else tried(network, batch, spec, widths)
        if outcome is None or outcome.proved:
            return Made(network, outcome, True)
        # shapes do not tell all, such as the number of heads
        network = _with_units(model, spec, units)
    choices = choices_of(network, spec, widths)
    for choice in choices:
        choice.take(0)
    if batch is None:
        return Made(network, None, False)
    outcome = find_sizes(network, choices, batch, spec, widths, most=most)
    said = outcome.proved and fit_configs(network, model, spec.axes, widths, proved=True)
    return Made(network, outcome, said)


def _with_units(model: M, spec: SymmetrySpec, units: Mapping[str, Tensor]) -> M:
    """A copy with the tensors of these units, in which torch's own modules have their sizes."""
    widths = {name: chosen.shape[-1] for name, chosen in units.items()}
    state = {name: tensor.detach() for name, tensor in tensors_of(model).items()}
    tensors = resized_state(state, spec, units)
    new = {name: tensor for name, tensor in tensors.items() if tensor is not state[name]}
    network = with_tensors(model, new)
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        if has_rule(module) and any(tensor.startswith(prefix) for tensor in new):
            axes = {
                tensor[len(prefix) :]: terms
                for tensor, terms in spec.axes.items()
                if tensor.startswith(prefix)
            }
            set_sizes(Place(name, module, axes, widths))
    clear_eval_caches(network)
    return network
