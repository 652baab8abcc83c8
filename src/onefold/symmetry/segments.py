"""A traced graph run for one state dict in segments: all batches up to a node, then a halt.

At a halt, every value that the rest of the graph still needs is there for all batches, and
parameters may be changed in place: the steps behind it read the new ones. So a network whose layers
are solved one after the other, each from the outputs of those before it, costs one forward pass and
not one for each layer.

Memory: the live values of all batches at once. That is the most that the graph holds at any step,
times the number of batches (`live_bytes`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from onefold.batches import Batch
from onefold.errors import TraceError
from onefold.symmetry.exporting import shape_of
from onefold.symmetry.replay import Plan, Step, fill
from onefold.symmetry.tracing import TracedNetwork


class SegmentedRun:
    """One network on all batches, run in segments.

    Args:
        traced: the network.
        state: state dict, read as it is at each step: change its tensors in place at a halt.
        batches: the batches.

    Raises:
        TraceError: as `TracedNetwork.replay`, or if the network changes its own parameters or
            buffers.
        MembersError: as `TracedNetwork.replay`.
    """

    def __init__(
        self, traced: TracedNetwork, state: Mapping[str, Tensor], batches: Sequence[Batch]
    ) -> None:
        plans = [traced.plan_for(batch.args, batch.kwargs) for batch in batches]
        self._runs = [(plan, plan.start(state, inputs)) for plan, inputs in plans]
        state_slots = {slot for plan, _ in self._runs for slot, *_ in plan.states}
        changed_slots = {slot for plan, _ in self._runs for slot in plan.changed}
        if changed := state_slots & changed_slots:
            # A graph that writes to its own state has a copy of it for each batch, which a change
            # at a halt would not reach.
            raise TraceError(
                f"The network changes {len(changed)} of its own parameters or buffers while it"
                " runs, so it cannot be run in segments."
            )
        # steps done of each batch; batches of other sizes may have more steps
        self._done = [0] * len(self._runs)

    def before(self, node: str) -> None:
        """Run every batch until `node` is next.

        Raises:
            TraceError: there is no such node, or it has run already.
        """
        at = [
            next((k for k, step in enumerate(plan.steps) if step.name == node), None)
            for plan, _ in self._runs
        ]
        if any(k is None or k < done for k, done in zip(at, self._done, strict=True)):
            reason = "there is no such node" if None in at else "it has run already"
            raise TraceError(f"The segmented run cannot halt before '{node}': {reason}.")
        self._advance([k for k in at if k is not None])

    def values(self, name: str) -> list[Any]:
        """The value of a node or input for each batch.

        Raises:
            TraceError: it is computed later, or no later node needs it.
        """
        found = [values[slots_of(plan)[name]] for plan, values in self._runs]
        if any(value is None for value in found):
            raise TraceError(
                f"The value of '{name}' is not there at this halt: it is computed later, or nothing"
                " needs it any more."
            )
        return found

    def finish(self) -> list[Any]:
        """Run to the end: the network's output for each batch."""
        self._advance([len(plan.steps) for plan, _ in self._runs])
        return [
            pytree.tree_unflatten(fill(plan.outputs, values), plan.out_spec)
            for plan, values in self._runs
        ]

    def _advance(self, until: list[int]) -> None:
        with torch.no_grad():
            for (plan, values), done, end in zip(self._runs, self._done, until, strict=True):
                for step in plan.steps[done:end]:
                    values[step.out] = _called(step, values)
                    for slot in step.dead:
                        values[slot] = None
        self._done = until


def slots_of(plan: Plan) -> dict[str, int]:
    """Name of every node and input of a plan -> slot of its value."""
    return dict(plan.inputs) | {step.name: step.out for step in plan.steps}


def live_bytes(traced: TracedNetwork) -> float:
    """The most bytes that the values of one example take at any step, by the traced shapes.

    Views are counted as if they were copies.
    """
    nodes = list(traced.graph.nodes)
    last = {used: k for k, node in enumerate(nodes) for used in node.all_input_nodes}
    states = set(traced.state_names)
    examples = max((shape_of(n.meta["val"])[0] for n in nodes if _is_input(n, states)), default=1)
    ending: dict[int, float] = {}
    live = most = 0.0
    for k, node in enumerate(nodes):
        if node.name not in states and node in last:
            leaves = pytree.tree_leaves(node.meta.get("val"))
            tensors = [value for value in leaves if isinstance(value, Tensor)]
            size = float(sum(value.element_size() * _numel(value) for value in tensors))
            live += size
            ending[last[node]] = ending.get(last[node], 0.0) + size
        most = max(most, live)
        live -= ending.get(k, 0.0)
    return most / examples


def _called(step: Step, values: list[Any]) -> Any:
    if step.nested:
        return step.target(*fill(step.args, values), **fill(step.kwargs, values))
    args = list(step.args)
    for position, slot in step.holes:
        args[position] = values[slot]
    return step.target(*args, **step.kwargs)


def _is_input(node: fx.Node, states: set[str]) -> bool:
    value = node.meta.get("val")
    has_axes = isinstance(value, Tensor) and value.dim() > 0
    return node.op == "placeholder" and node.name not in states and has_axes


def _numel(value: Tensor) -> int:
    return math.prod(shape_of(value))
