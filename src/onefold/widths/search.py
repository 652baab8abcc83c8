"""The sizes of a resized network set so that it runs, and its symmetries are the old ones.

What counts: the network runs on the example inputs, and its own symmetries have the same groups, in
the same places, with the new widths. A wrong number of heads passes the first and fails the second.
Attributes are tried one at a time (a greedy search), first those of the modules in which a run has
failed. The result is proved, whatever the search has done.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onefold.batches import Batch
from onefold.caches import restored_attributes
from onefold.errors import OnefoldError
from onefold.symmetry import solve, trace
from onefold.symmetry.axes import Group
from onefold.symmetry.spec import SymmetrySpec
from onefold.widths.attributes import Choice

MOST_RUNS = 60
MOST_TRACES = 12
MOST_PAIRED = 8  # attributes of which pairs are tried


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
    search = _Search(network, batch, spec, widths, most)
    while not best.proved:
        ordered = _in_order(choices, best)
        pairs = itertools.combinations(ordered[:MOST_PAIRED], 2)
        better = search.above(best, [(one,) for one in ordered]) or search.above(best, pairs)
        if better is None:
            break
        best = better
    return best


@dataclass
class _Search:
    """Options of a network's attributes tried in turn, as long as runs and traces are left."""

    network: nn.Module
    batch: Batch
    spec: SymmetrySpec
    widths: Mapping[str, int]
    runs: int
    traces: int = MOST_TRACES

    def above(self, best: Outcome, tuples: Iterable[tuple[Choice, ...]]) -> Outcome | None:
        """Take the first options of some choices with which the network gets further.

        Returns:
            How far it gets then; None, with the options as they were, if it never does.
        """
        for changing in tuples:
            before = [choice.taken for choice in changing]
            others = [
                [k for k in range(len(choice.options)) if k != choice.taken] for choice in changing
            ]
            for numbers in itertools.product(*others):
                if self.runs <= 0 or self.traces <= 0:
                    return None
                _take(changing, numbers)
                found = tried(self.network, self.batch, self.spec, self.widths)
                self.runs, self.traces = self.runs - 1, self.traces - found.ran
                if found > best:
                    return found
                _take(changing, before)
        return None


def _take(choices: Sequence[Choice], numbers: Sequence[int]) -> None:
    for choice, number in zip(choices, numbers, strict=True):
        choice.take(number)


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
    theirs = {group.name: (group.size, _places(group)) for group in own.groups}
    lost = any(widths.get(group.name, group.size) == 1 for group in spec.groups)
    held = {(place, group.size) for group in own.groups for place in _places(group)}
    wrong = []
    for group in spec.groups:
        width = widths.get(group.name, group.size)
        # without the groups of one unit, the others have other numbers
        there = width == 1 or all((place, width) in held for place in _places(group))
        if theirs.get(group.name) != (width, _places(group)) and not (lost and there):
            wrong.append(group.name)
    return wrong


def _places(group: Group) -> tuple[tuple[str, int], ...]:
    return tuple((slot.tensor, slot.axis) for slot in group.slots)


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
