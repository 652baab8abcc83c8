"""What the network puts out, as least squares needs it: the node of the graph that is meant, the
axis of its classes, and its values as scores.
"""

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
class PutOut:
    """node: of the graph, whose value is the meant output; None where the output is computed from
    values that are returned. axis: of the classes.
    """

    node: str | None
    axis: int
    read: Read


def put_out(
    traced: TracedNetwork, state: Mapping[str, Tensor], batches: Sequence[Batch], output: Output
) -> PutOut:
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
    return PutOut(node, axis, lambda own: output.of(own).movedim(axis, -1))


def any_output(output: Output) -> Read:
    """Reads the meant output where it is known, else all floating-point outputs in one row: where a
    network is to keep all of them.
    """

    def read(returned: Any) -> Tensor:
        found = floating_outputs(returned, output)
        return found[0] if len(found) == 1 else torch.cat([tensor.flatten() for tensor in found])

    return read


__all__ = ["PutOut", "Read", "any_output", "put_out"]
