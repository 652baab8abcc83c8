"""What may move inside a network without changing its function: found from the traced graph, proved numerically.

`find_symmetries` traces a network, lets every operator say how the axes of its tensors belong together, and names what is left free:
groups of coordinates that one unknown map moves in many tensors at once. `apply_maps` carries such maps out on a state dict, and
`verify_symmetries` shows in float64 that the function stays the same.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from onefold.batches import Batch, batches
from onefold.symmetry.action import GroupMap, apply_maps, features, fibre_features
from onefold.symmetry.solve import solve
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.trace import TracedNetwork, trace


def example_batch(example_inputs: Any) -> Batch:
    """Example inputs as the rest of the library reads a batch: a tensor, a pair (inputs, labels), or a dict for keyword networks.

    A pair is always (inputs, labels); for two positional inputs pass ((a, b), None).
    """
    return example_inputs if isinstance(example_inputs, Batch) else next(iter(batches([example_inputs], what="example inputs")))


def find_symmetries(model: nn.Module, example_inputs: Any = None, traced: TracedNetwork | None = None) -> SymmetrySpec:
    """Find the groups of coordinates that may be moved together without changing what the network computes.

    Args:
        model: any network that torch.export can trace; it is left as it was. Weights play no part and may be on the meta device.
        example_inputs: one batch, as a data loader yields it: a tensor, (inputs, labels), a tuple of three or more positional inputs, or
            a dict for a network that takes keywords (its entry "labels" is left out). For two positional inputs pass ((a, b), None).
        traced: a trace of the network made earlier by `trace`, which is then not made again.

    Returns: the SymmetrySpec; print it for a readable table.

    Raises:
        TraceError: torch.export cannot trace the network.
    """
    if traced is None:
        batch = example_batch(example_inputs)
        traced = trace(model, batch.args, batch.kwargs)
    return solve(traced)


__all__ = [
    "GroupMap",
    "SymmetrySpec",
    "TracedNetwork",
    "apply_maps",
    "example_batch",
    "features",
    "fibre_features",
    "find_symmetries",
    "solve",
    "trace",
]
