"""The numeric proof: random maps of every claimed class on all groups at once leave the function as it is, in float64.

A proof by numbers can be vacuous, so the weights are drawn anew (zero-initialised heads and the like would hide a wrong slot), no map
is the identity, and there are negative controls: with one tensor of a group left out, the output must move.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from onefold.batches import Batch
from onefold.errors import DataError, SymmetryError
from onefold.symmetry.action import mapped_tensors
from onefold.symmetry.drawing import random_cycles, random_maps
from onefold.symmetry.maps import GroupMap
from onefold.symmetry.spec import MAP_CLASSES, Group, SymmetrySpec
from onefold.symmetry.tracing import example_batch
from onefold.symmetry.widening import Widening


@dataclass(frozen=True)
class Verification:
    """What the numeric proof found; errors are relative to the largest output.

    max_error: largest change of an output over all trials. scale: the largest output. classes: map class -> how many groups it was tried
    on. undetected: (group, tensor) of negative controls that did not move the output. inert: tensors met that no output depends on, as
    the bias of attention keys, which a softmax takes away; they can be no controls.
    """

    max_error: float
    scale: float
    tolerance: float
    trials: int
    classes: dict[str, int]
    negatives_tried: int
    negatives_detected: int
    undetected: tuple[tuple[str, str], ...] = ()
    inert: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance and every negative control was seen."""
        return self.max_error <= self.tolerance and self.negatives_detected == self.negatives_tried

    def __str__(self) -> str:
        tried = ", ".join(f"{name} on {count} groups" for name, count in self.classes.items()) or "no maps, as there are no groups"
        line = f"{'passed' if self.passed else 'FAILED'}: relative error {self.max_error:.1e} (tolerance {self.tolerance:.0e}) under {tried}; "
        line += f"{self.negatives_detected} of {self.negatives_tried} negative controls detected"
        return line + "".join(f"\nundetected: {group} without {tensor}" for group, tensor in self.undetected)


def verify_symmetries(
    spec: SymmetrySpec,
    model: nn.Module,
    example_inputs: Any,
    *,
    seed: int = 0,
    trials: int = 2,
    tolerance: float = 1e-10,
    negatives: int = 12,
) -> Verification:
    """Check in float64 that random maps leave the network's function as it is.

    A deep copy of the network is used, in eval mode, with weights drawn from N(0, 1/fan_in) and random norm statistics; where the network
    itself casts to a narrower type, it gets float64. In each trial all groups are moved jointly, once for each class of maps, each on the
    groups that allow it: permutations, positive scales, signs, orthogonal maps, orthogonal maps that fix the mean, invertible maps.

    Args:
        example_inputs: one batch, as for `find_symmetries`.
        seed: of weights, maps and the choice of negative controls.
        trials: how many draws of maps are tried for each class.
        tolerance: largest relative error that passes.
        negatives: at most so many negative controls, spread over the groups; each costs one run of the network.

    Raises:
        SymmetryError: the spec does not fit the network, or the network's output is constant or not finite.
        DataError: the network cannot run on the example inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    twin = _well_conditioned(model, spec, generator)
    batch = _float64(example_batch(example_inputs), next(iter(twin.parameters()), torch.empty(0)).device)
    state = {**dict(twin.named_parameters(remove_duplicate=False)), **dict(twin.named_buffers(remove_duplicate=False))}
    state = {name: tensor.detach() for name, tensor in state.items()}
    plain = _outputs(twin, batch, {})
    scale = max((float(out.abs().max()) for out in plain if out.numel()), default=0.0)
    if not 0 < scale < float("inf"):
        what = "no" if scale == 0 else "non-finite"
        raise SymmetryError(f"{type(model).__name__} gives {what} output in the proof, which can then show nothing; look at its forward pass.")

    def distance(moved: list[Tensor]) -> float:
        return max((float((a - b).abs().max()) for a, b in zip(plain, moved, strict=True) if a.numel()), default=0.0) / scale

    def change(maps: dict[str, GroupMap], without: str | None = None) -> float:
        changed = mapped_tensors(state, spec, maps)
        return distance(_outputs(twin, batch, {name: tensor for name, tensor in changed.items() if name != without}))

    def matters(name: str, maps: dict[str, GroupMap]) -> float:
        """How far the outputs move when noise is added to what the maps move of a tensor."""
        noise = {**state, name: torch.randn(state[name].shape, generator=generator, dtype=torch.float64).to(state[name].device)}
        other = state[name] + mapped_tensors(noise, spec, maps)[name] - noise[name]
        return distance(_outputs(twin, batch, {name: other}))

    classes = {kind: [group for group in spec.groups if kind in group.maps] for kind in MAP_CLASSES}
    classes = {kind: groups for kind, groups in classes.items() if groups}
    errors = [change(random_maps(spec, groups, kind, generator)) for kind, groups in classes.items() for _ in range(trials)]
    if max(errors, default=0.0) > tolerance and change({}) > tolerance:
        raise SymmetryError(f"{type(model).__name__} is random even in eval mode, so nothing can be proved; switch off its dropout or sampling.")
    limit = min(1e3 * tolerance, max(1e4 * max(errors, default=0.0), 1e-11))  # far above rounding, far below what a wrong coordinate does
    undetected: list[tuple[str, str]] = []
    inert: dict[str, None] = {}
    tried = 0
    for group, names in _controls(spec, negatives, generator):
        for tensor in names:
            maps = {group.name: random_cycles(spec, group, generator)}
            moved = change(maps, without=tensor) >= limit
            if moved or matters(tensor, maps) >= limit:
                tried += 1
                undetected += [] if moved else [(group.name, tensor)]
                break
            inert[tensor] = None  # left out or not, it changes nothing: another tensor of the group must do
    return Verification(
        max_error=max(errors, default=0.0),
        scale=scale,
        tolerance=tolerance,
        trials=trials,
        classes={kind: len(groups) for kind, groups in classes.items()},
        negatives_tried=tried,
        negatives_detected=tried - len(undetected),
        undetected=tuple(undetected),
        inert=tuple(inert),
    )


def _well_conditioned(model: nn.Module, spec: SymmetrySpec, generator: torch.Generator) -> nn.Module:
    """A float64 copy in eval mode whose weights hide nothing: no zeros, no ones, no ties between coordinates."""
    twin = copy.deepcopy(model).double().eval().requires_grad_(False)
    roles = {slot.tensor: slot.role for group in spec.groups for slot in group.slots}
    state = {**dict(twin.named_parameters()), **dict(twin.named_buffers())}
    for name, tensor in state.items():
        role = roles.get(name)
        if not tensor.is_floating_point() or (role is None and name not in dict(twin.named_parameters())):
            continue
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
        if role in ("scale", "variance"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device))
        elif tensor.dim() <= 1:
            tensor.copy_(0.3 * noise)
        else:
            tensor.copy_(noise / max(1, tensor[0].numel()) ** 0.5)
    return twin


def _float64(batch: Batch, device: torch.device) -> Batch:
    def convert(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, torch.float64) if value.is_floating_point() else value.to(device)

    args, kwargs = pytree.tree_map(convert, (batch.args, batch.kwargs))
    return Batch(args, kwargs, None, batch.index)


def _outputs(model: nn.Module, batch: Batch, changed: dict[str, Tensor]) -> list[Tensor]:
    try:
        with torch.no_grad(), Widening():  # type: ignore[no-untyped-call]
            found = functional_call(model, changed, batch.args, batch.kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{type(model).__name__} cannot run on the example inputs: {str(error).strip().splitlines()[0][:200]}") from error
    return [x.double() for x in pytree.tree_leaves(found) if isinstance(x, Tensor)]


def _controls(spec: SymmetrySpec, count: int, generator: torch.Generator) -> list[tuple[Group, list[str]]]:
    """Groups drawn at random, at most `count`, each with its tensors in random order: the first that has any effect is left out.

    A tensor alone in its group leaves nothing to get wrong.
    """
    groups = [group for group in spec.groups if len({slot.tensor for slot in group.slots}) > 1]
    order = torch.randperm(len(groups), generator=generator).tolist()[:count]
    chosen = []
    for k in sorted(order):
        names = sorted({slot.tensor for slot in groups[k].slots})
        chosen.append((groups[k], [names[i] for i in torch.randperm(len(names), generator=generator).tolist()]))
    return chosen
