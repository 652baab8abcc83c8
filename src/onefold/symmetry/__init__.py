"""Symmetries of a network: maps inside it that leave its function unchanged.

They are found from the traced graph and proved numerically. `find_symmetries` traces a network,
lets every operator say how the axes of its tensors belong together, and names what is left free:
groups of coordinates that one unknown map moves in many tensors at once. `apply_maps` carries such
maps out on a state dict. `verify_symmetries` shows in float64 that the function stays the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from onefold.arguments import checked
from onefold.errors import warn
from onefold.isolation import isolated
from onefold.symmetry.action import apply_maps, map_features
from onefold.symmetry.cache import cached
from onefold.symmetry.folding import fold_scales
from onefold.symmetry.maps import GroupMap
from onefold.symmetry.probing import features, fibre_features
from onefold.symmetry.pruning import Pruned, prune
from onefold.symmetry.solver import solve
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.tracing import TracedNetwork, example_batch, trace
from onefold.symmetry.verify import Verification, verify_symmetries


@checked
@isolated
def find_symmetries(
    model: nn.Module,
    example_inputs: Any = None,
    traced: TracedNetwork | None = None,
    *,
    cache: str | Path | None = None,
) -> SymmetrySpec:
    """Find the groups of coordinates that one map may move without a change of the function.

    Args:
        model: any network that torch.export can trace; it is left as it was. Weights play no part
            and may be on the meta device.
        example_inputs: one batch, as a data loader yields it: a tensor, (inputs, labels), a tuple
            of three or more positional inputs, or a dict for a network that takes keywords (its
            entry "labels" is left out). For two positional inputs pass ((a, b), None).
        traced: a trace of the network that `trace` made earlier; the network is then not traced
            again.
        cache: folder of specs. The first spec of an architecture is proved numerically before it is
            stored. Groups that the proof refutes are frozen, with a warning. Later specs of the
            architecture are read from the folder.

    Returns:
        The SymmetrySpec; print it for a readable table.

    Raises:
        DataError: the network cannot run on the inputs.
        TraceError: torch.export cannot trace the network.
        SymmetryError: with a cache, if nothing can be proved (weights on the meta device, a network
            that is random in eval mode).
        OutputError: the cache cannot be written.
    """
    if traced is None:
        batch = example_batch(example_inputs)
        traced = trace(model, batch.args, batch.kwargs)
    if cache is None:
        return solve(traced)
    found = cached(traced, example_inputs, cache)
    if found.refuted:
        warn(UserWarning(found.refuted))
    return found.spec


__all__ = [
    "GroupMap",
    "Pruned",
    "SymmetrySpec",
    "TracedNetwork",
    "Verification",
    "apply_maps",
    "example_batch",
    "features",
    "fibre_features",
    "find_symmetries",
    "fold_scales",
    "map_features",
    "prune",
    "solve",
    "trace",
    "verify_symmetries",
]
