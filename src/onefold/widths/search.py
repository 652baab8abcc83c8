"""The sizes of a resized network set so that it runs, and its symmetries are the old ones.

What counts: the network runs on the example inputs, and its own symmetries have the same groups, in
the same places, with the new widths. A wrong number of heads passes the first and fails the second.
Attributes are tried one at a time (a greedy search), first those of the modules in which a run has
failed. The result is proved, whatever the search has done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onefold.batches import Batch
from onefold.caches import restored_attributes
from onefold.errors import OnefoldError
from onefold.symmetry import solve, trace
from onefold.symmetry.spec import SymmetrySpec
from onefold.widths.attributes import Choice

MOST_RUNS = 300
MOST_TRACES = 40


@dataclass(frozen=True, order=True)
class Outcome:
    """How far a network gets with its sizes; more is better.

    Attributes:
        ran: whether it runs.
        calls: how many modules were called before it failed; 0 if it ran.
        alike: how many groups are where they were and have the width that they shall have.
        proved: whether all are.
        reason: why it does not run, or whose width is wrong.
        where: the modules in which it failed, the innermost last.
    """

    ran: bool
    calls: int = 0
    alike: int = 0
    proved: bool = False
    reason: str = field(default="", compare=False)
    where: tuple[str, ...] = field(default=(), compare=False)


def find_sizes(
    network: nn.Module,
    choices: Sequence[Choice],
    batch: Batch,
    spec: SymmetrySpec,
    widths: Mapping[str, int],
    *,
    most: int = MOST_RUNS,
) -> Outcome:
    """Set the attributes of a network so that it is proved, and say how far it got.

    Args:
        network: the new network; its attributes are changed.
        choices: attributes that may be right or wrong.
        batch: example inputs, on the network's device.
        spec: symmetries of the old network.
        widths: group name -> new number of units.
        most: runs of the network at most.
    """
    best = tried(network, batch, spec, widths)
    runs = traces = 0
    moved = True
    while not best.proved and moved:
        moved = False
        for choice in _in_order(choices, best):
            before = choice.taken
            for number in range(len(choice.options)):
                if number == before or runs >= most or traces >= MOST_TRACES:
                    continue
                choice.take(number)
                found = tried(network, batch, spec, widths)
                runs, traces = runs + 1, traces + found.ran
                if found > best:
                    best, moved = found, True
                    break
                choice.take(before)
            if moved:
                break
    return best


def tried(
    network: nn.Module, batch: Batch, spec: SymmetrySpec, widths: Mapping[str, int]
) -> Outcome:
    """How far the network gets with the sizes that it has."""
    found = run(network, batch)
    if not found.ran:
        return found
    try:
        own = solve(trace(network, batch.args, batch.kwargs))
    except OnefoldError as error:
        return Outcome(True, reason=str(error).split("\n")[0][:200])
    wrong = unlike(spec, own, widths)
    alike = len(spec.groups) - len(wrong)
    reason = f"group {wrong[0]} has another width or place in it" if wrong else ""
    return Outcome(True, 0, alike, not wrong, reason)


def unlike(spec: SymmetrySpec, own: SymmetrySpec, widths: Mapping[str, int]) -> list[str]:
    """The groups that a resized network has not got in the same places with their new widths.

    A group of one unit has nothing that could move, so it is none any more.
    """
    theirs = {(slot.tensor, slot.axis, group.size) for group in own.groups for slot in group.slots}
    wrong = []
    for group in spec.groups:
        width = widths.get(group.name, group.size)
        held = all((slot.tensor, slot.axis, width) in theirs for slot in group.slots)
        if width > 1 and not held:
            wrong.append(group.name)
    return wrong


def run(network: nn.Module, batch: Batch) -> Outcome:
    """Run the network in eval mode and count the modules that get to their end."""
    entered: list[str] = []
    calls = 0

    def enter(name: str) -> Any:
        return lambda module, args: entered.append(name)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal calls
        calls += 1
        entered.pop()

    modes = [(module, module.training) for module in network.modules()]
    hooks = []
    for name, module in network.named_modules():
        hooks += [
            module.register_forward_pre_hook(enter(name)),
            module.register_forward_hook(leave),
        ]
    try:
        network.eval()
        with restored_attributes(network), torch.no_grad():
            network(*batch.args, **batch.kwargs)
        return Outcome(True)
    except Exception as error:  # a network may fail in any way
        reason = str(error).strip().split("\n")[0][:160].rstrip(".") or type(error).__name__
        return Outcome(False, calls, reason=reason, where=tuple(entered))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training


def on_device_of(network: nn.Module, batch: Batch) -> Batch:
    """The batch on the device of the network's tensors."""
    tensor = next(network.parameters(), next(network.buffers(), torch.empty(0)))

    def moved(value: Any) -> Any:
        return value.to(tensor.device) if isinstance(value, Tensor) else value

    args, kwargs = pytree.tree_map(moved, (batch.args, batch.kwargs))
    return Batch(args, kwargs, None, batch.index)


def _in_order(choices: Sequence[Choice], outcome: Outcome) -> list[Choice]:
    """The choices, those of the modules in which a run has failed first, from the inside out."""
    depth = {name: k for k, name in enumerate(outcome.where)}

    def place(choice: Choice) -> int:
        return max((depth.get(holder.module, -1) for holder in choice.holders), default=-1)

    return sorted(choices, key=place, reverse=True)
