"""Tensors that an average leaves as one member has them, with the reasons.

- Integers, flags and whatever else has no mean: index tables, permutations, masks of True and
  False.
- Masks of 0 and 1 in floating point, among buffers and among parameters that are not trained: a
  mean of masks is no mask.
- Floating-point buffers that are not the running statistics of a norm: fixed random projections and
  Fourier features, tables of positions, anchors, codebooks. A network was trained around its own
  draw, and a mean of two draws is neither.

Running statistics are averaged: the buffers of torch's norms, and buffers named running_* or
moving_*, with the buffers weight and bias of a module that has such. All parameters are averaged
but the masks. Counters of batches (num_batches_tracked) are not reported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from onefold.fold.average import owner_of
from onefold.sources import on_disk

COUNTER = "num_batches_tracked"
STATISTICS = ("running_", "moving_")
INTEGERS = "no floating-point numbers"
MASK = "a mask of 0 and 1"
BUFFER = "a buffer that holds no running statistics"
_Norms = nn.modules.batchnorm._NormBase
SHOWN = 4  # names listed in a message


@dataclass(frozen=True)
class Unaveraged:
    """The tensors that are not averaged.

    Attributes:
        kept: state-dict name -> why it is not averaged.
        differ: those of them in which members differ, and buffers outside of the state dict.
        frozen: parameters that are not trained, beside others that are, and that differ among the
            members; they are averaged.
    """

    kept: dict[str, str] = field(default_factory=dict)
    differ: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    def warnings(self, owner: int) -> list[str]:
        """Sentences for a report; `owner` is the member whose values were taken."""
        said = []
        if self.differ:
            unsaved = "a buffer that is not saved"
            names = [f"{name} ({self.kept.get(name, unsaved)})" for name in self.differ]
            said.append(
                "the members differ in what cannot be averaged, which the result has from member"
                f" {owner}: {_listed(names)}"
            )
        if self.frozen:
            said.append(
                "the members differ in parameters that are not trained, which were averaged:"
                f" {_listed(self.frozen)}; if these are fixed random draws, make them buffers,"
                " which are kept as they are"
            )
        return said


def unaveraged(
    model: nn.Module,
    models: Sequence[nn.Module],
    states: Sequence[Mapping[str, Tensor]],
    reference: int,
) -> Unaveraged:
    """The tensors of the members that are not averaged.

    States are read only if something may differ.

    Args:
        model: the reference itself, `models[reference]`.
        models: the members.
        states: their state dicts, in one basis.
        reference: the reference's number.
    """
    own: Mapping[str, Tensor] = model.state_dict()
    statistics = _statistics(model)
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    trained = any(p.requires_grad for p in parameters.values())
    still = {name for name, p in parameters.items() if trained and not p.requires_grad}
    kept: dict[str, str] = {}
    masks: set[str] = set()
    for name, tensor in own.items():
        if name.rpartition(".")[2] == COUNTER:
            continue
        if not averages(tensor):
            kept[name] = INTEGERS
        elif name not in statistics and (name in buffers or name in still) and _is_mask(tensor):
            masks.add(name)
        elif name in buffers and name not in statistics:
            kept[name] = BUFFER
    suspects = {*kept, *masks, *still}
    different: set[str] = set()
    own = states[reference] if suspects else own
    for k in range(len(models)) if suspects else ():
        if k == reference:
            continue
        state = states[k]
        different |= {name for name in suspects if not _equal(state[name], own[name])}
        masks -= {name for name in masks if not _is_mask(state[name])}
    kept |= dict.fromkeys(masks, MASK)
    kept |= {name: BUFFER for name in buffers & suspects if name not in kept}
    outside = () if on_disk(models) else _outside(model, models, {*own, *statistics})
    return Unaveraged(
        {name: kept[name] for name in own if name in kept},
        (*(name for name in own if name in kept and name in different), *outside),
        tuple(name for name in own if name in still and name in different and name not in kept),
    )


def keep(
    state: dict[str, Tensor],
    states: Sequence[Mapping[str, Tensor]],
    kept: Collection[str],
    weights: Sequence[float],
    reference: int,
) -> dict[str, Tensor]:
    """A folded state with the tensors in `kept` as the reference has them.

    If the reference has no weight, they are those of the member of most weight.
    """
    if not kept:
        return state
    own = states[owner_of(weights, reference)]
    return {
        name: own[name].to(tensor.dtype).clone() if name in kept else tensor
        for name, tensor in state.items()
    }


def averages(tensor: Tensor) -> bool:
    """Whether a tensor's dtype has means: floating-point and complex numbers."""
    return tensor.is_floating_point() or tensor.is_complex()


def _statistics(model: nn.Module) -> set[str]:
    """The names of the buffers that are running statistics."""
    found = set()
    for prefix, module in model.named_modules(remove_duplicate=False):
        own = {
            name
            for name in module._buffers
            if isinstance(module, _Norms) or name.startswith(STATISTICS)
        }
        if own:  # a frozen norm's scale and shift go with its statistics
            own |= {name for name in ("weight", "bias") if name in module._buffers}
        found |= {f"{prefix}.{name}".lstrip(".") for name in own}
    return found


def _outside(model: nn.Module, models: Sequence[nn.Module], known: set[str]) -> tuple[str, ...]:
    """The buffers that no state dict holds and in which the members differ."""
    own = {name: buffer for name, buffer in model.named_buffers() if name not in known}
    found = []
    for name, buffer in own.items():
        others = [dict(model.named_buffers()).get(name) for model in models]
        if any(other is not None and not _equal(other, buffer) for other in others):
            found.append(name)
    return tuple(found)


def _is_mask(tensor: Tensor) -> bool:
    """Whether the tensor holds zeros and ones, and both of them, in floating point."""
    if not tensor.is_floating_point() or not tensor.numel():
        return False
    zeros, ones = int((tensor == 0).sum()), int((tensor == 1).sum())
    return zeros > 0 and ones > 0 and zeros + ones == tensor.numel()


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other.to(one.device, one.dtype))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
