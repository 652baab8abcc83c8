"""The network's output: its node in the graph, the axis of its classes, and its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onefold.batches import Batch
from onefold.inference import ClassAxis, Output, floating_outputs
from onefold.symmetry import TracedNetwork

Read = Callable[[Any], Tensor]  # from what the network returns to the tensor whose changes count


@dataclass(frozen=True)
class OutputNode:
    """The output of classes.

    Attributes:
        node: the graph's node whose value it is. None if the output is computed from several
            returned values.
        axis: the axis of the classes.
        read: from what the network returns to the output (..., classes).
    """

    node: str | None
    axis: int
    read: Read


def find_output(
    traced: TracedNetwork, state: Mapping[str, Tensor], batches: Sequence[Batch], output: Output
) -> OutputNode:
    """The output of classes of the traced network, found on the first batch.

    Raises:
        DataError: nothing says which output is meant, or where its classes are.
    """
    batch = batches[0]
    returned = [
        node.name
        for end in traced.graph.nodes
        if end.op == "output"
        for node in end.all_input_nodes
    ]
    values: dict[str, Tensor] = {}

    def visit(node: str, found: list[Any]) -> None:
        values[node] = found[0]

    plan, inputs = traced.plan_for(batch.args, batch.kwargs)
    with torch.no_grad():
        found = output.of(plan.run([state], inputs, visit, set(returned) & plan.names)[0])
    axis = ClassAxis(output, "an ensemble of probabilities or classes").of(
        found, batch.labels, where=f" of batch {batch.index}"
    )
    node = next((name for name, value in values.items() if value is found), None)
    return OutputNode(node, axis, lambda own: output.of(own).movedim(axis, -1))


def any_output(output: Output) -> Read:
    """A function that reads all that the network is to keep.

    It gives the meant output if that is known, else all floating-point outputs in one row.
    """

    def read(returned: Any) -> Tensor:
        found = floating_outputs(returned, output)
        return found[0] if len(found) == 1 else torch.cat([tensor.flatten() for tensor in found])

    return read


__all__ = ["OutputNode", "Read", "any_output", "find_output"]
