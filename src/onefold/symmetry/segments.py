"""Run a traced graph for one state dict in segments: all batches up to a node, then a halt, then
on.

At a halt, what the rest of the graph still needs is there for all batches, and parameters may be
changed in place: the steps behind read the new ones. So a network whose layers are solved one after
the other, each from what those before it put out, costs one forward pass and not one for each
layer.

Memory: the live values of all batches at once, the most that the graph holds at any step times the
number of batches (`live_bytes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from onefold.batches import Batch
from onefold.errors import TraceError
from onefold.symmetry.replay import Plan, Step, fill
from onefold.symmetry.tracing import TracedNetwork, shape_of


class SegmentedRun:
    """One network, all batches, in segments.

    `state` is read as it is at each step: change its tensors in place at a halt.

    Raises:
        TraceError, MembersError: as `TracedNetwork.replay`.
    """

    def __init__(
        self, traced: TracedNetwork, state: Mapping[str, Tensor], batches: Sequence[Batch]
    ) -> None:
        plans = [traced.plan_for(batch.args, batch.kwargs) for batch in batches]
        self._runs = [(plan, plan.start(state, inputs)) for plan, inputs in plans]
        if state_slots := {slot for plan, _ in self._runs for slot, *_ in plan.states} & {
            slot for plan, _ in self._runs for slot in plan.changed
        }:
            # A graph that writes to its own state has a copy of it for each batch, which a change
            # at a halt would not reach.
            raise TraceError(
                f"The network changes {len(state_slots)} of its own parameters or buffers while it"
                " runs, so it cannot be run in segments."
            )
        self._done = [0] * len(
            self._runs
        )  # steps of each batch: those of other sizes may have more

    def before(self, node: str) -> None:
        """Run every batch until `node` is next.

        Raises TraceError where there is no such node, or it has run already.
        """
        at = [
            next((k for k, step in enumerate(plan.steps) if step.name == node), None)
            for plan, _ in self._runs
        ]
        if any(k is None or k < done for k, done in zip(at, self._done, strict=True)):
            raise TraceError(
                f"The segmented run cannot halt before '{node}':"
                f" {'there is no such node' if None in at else 'it has run already'}."
            )
        self._advance([k for k in at if k is not None])

    def values(self, name: str) -> list[Any]:
        """The value of a node or input for each batch, which a later node must still need."""
        found = [own[slots_of(plan)[name]] for plan, own in self._runs]
        if any(value is None for value in found):
            raise TraceError(
                f"The value of '{name}' is not there at this halt: it is computed later, or nothing"
                " needs it any more."
            )
        return found

    def finish(self) -> list[Any]:
        """Run to the end: what the network returns for each batch."""
        self._advance([len(plan.steps) for plan, _ in self._runs])
        return [
            pytree.tree_unflatten(fill(plan.outputs, own), plan.out_spec)
            for plan, own in self._runs
        ]

    def _advance(self, until: list[int]) -> None:
        with torch.no_grad():
            for (plan, own), done, end in zip(self._runs, self._done, until, strict=True):
                for step in plan.steps[done:end]:
                    own[step.out] = _called(step, own)
                    for slot in step.dead:
                        own[slot] = None
        self._done = until


def slots_of(plan: Plan) -> dict[str, int]:
    """Where the value of every node and input of a plan is kept."""
    return dict(plan.inputs) | {step.name: step.out for step in plan.steps}


def live_bytes(traced: TracedNetwork) -> float:
    """The most bytes that the values of one example take at any step, from the traced shapes; views
    are counted as if they were copies.
    """
    nodes = list(traced.graph.nodes)
    last = {used: k for k, node in enumerate(nodes) for used in node.all_input_nodes}
    states = set(traced.state_names)
    examples = max((shape_of(n.meta["val"])[0] for n in nodes if _is_input(n, states)), default=1)
    ending: dict[int, float] = {}
    live = most = 0.0
    for k, node in enumerate(nodes):
        if node.name not in states and node in last:
            size = float(
                sum(
                    v.element_size() * _numel(v)
                    for v in pytree.tree_leaves(node.meta.get("val"))
                    if isinstance(v, Tensor)
                )
            )
            live += size
            ending[last[node]] = ending.get(last[node], 0.0) + size
        most = max(most, live)
        live -= ending.get(k, 0.0)
    return most / examples


def _called(step: Step, own: list[Any]) -> Any:
    args = fill(step.args, own) if step.nested else list(step.args)
    for position, slot in () if step.nested else step.holes:
        args[position] = own[slot]
    return step.target(*args, **(fill(step.kwargs, own) if step.nested else step.kwargs))


def _is_input(node: fx.Node, states: set[str]) -> bool:
    value = node.meta.get("val")
    return (
        node.op == "placeholder"
        and node.name not in states
        and isinstance(value, Tensor)
        and value.dim() > 0
    )


def _numel(value: Tensor) -> int:
    total = 1
    for n in shape_of(value):
        total *= n
    return total
