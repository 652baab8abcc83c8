"""Symmetry specs cached in a folder: found and proved once for an architecture, then read.

The key is a hash of the traced graph (operators, connections, shapes of parameters), of the shapes
and types of the inputs, of the names of all operator rules, and of the versions of torch and of
this library. Weights play no part, so that all members of a merge share one entry. Groups that the
proof refutes are removed before the spec is stored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from onefold._version import __version__
from onefold.errors import SymmetryError
from onefold.symmetry.pruning import prune
from onefold.symmetry.rules import operator_rules
from onefold.symmetry.solver import solve
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.tracing import TracedNetwork, example_batch
from onefold.weights.atomic import atomic_write


@dataclass(frozen=True)
class Cached:
    """A spec from the cache.

    Attributes:
        spec: the spec.
        hit: whether it was read from the folder.
        refuted: what the proof removed from it, in words; empty if nothing.
    """

    spec: SymmetrySpec
    hit: bool
    refuted: str = ""


def cached(traced: TracedNetwork, example_inputs: Any, folder: str | Path) -> Cached:
    """The spec of a traced network: read from the folder, or found, proved and stored there.

    Args:
        traced: trace made with the same inputs. The proof runs a float64 copy of its network.
        example_inputs: one batch, as for `find_symmetries`.
        folder: folder of specs. It is made if it is missing, but its parents are not.

    Raises:
        SymmetryError: the network's weights are on the meta device, or nothing can be proved; see
            `prune`.
        OutputError: the folder cannot be written.
    """
    folder = Path(folder).expanduser()
    path = folder / f"{key(traced, example_inputs)}.json"
    found = _read(path, traced.fingerprint)
    if found is not None:
        return Cached(found, True)
    if any(parameter.is_meta for parameter in traced.model.parameters()):
        name = type(traced.model).__name__
        raise SymmetryError(
            f"{name} has its weights on the meta device, where nothing can be proved; find its"
            " symmetries without a cache."
        )
    pruned = prune(solve(traced), traced.model, example_inputs)
    if folder.parent.is_dir():
        folder.mkdir(exist_ok=True)
    atomic_write(path, pruned.spec.to_json(), force=True)
    return Cached(pruned.spec, False, str(pruned))


def key(traced: TracedNetwork, example_inputs: Any) -> str:
    """32 hexadecimal digits that tell apart whatever may lead to another spec.

    The batch size plays no part.
    """
    batch = example_batch(example_inputs)
    shapes = [
        (tuple(x.shape[1:]), str(x.dtype))
        for x in pytree.tree_leaves((batch.args, batch.kwargs))
        if isinstance(x, Tensor)
    ]
    parts = (traced.fingerprint, shapes, operator_rules.names(), torch.__version__, __version__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _read(path: Path, fingerprint: str) -> SymmetrySpec | None:
    """The spec in a file; None if there is none, or a damaged one, or that of another network."""
    try:
        spec = SymmetrySpec.from_json(path.read_text())
    except (OSError, UnicodeDecodeError, SymmetryError):
        return None
    return spec if spec.fingerprint == fingerprint else None
