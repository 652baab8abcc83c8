"""Fingerprint of a traced network: a hash that members of one architecture share.

Arguments that hold sizes play no part, since they may depend on the shapes of the inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from onefold.symmetry.exporting import shape_of
from onefold.symmetry.sizes import is_slice, read_by

# Arguments that hold sizes.
_SIZES = frozenset(
    (
        *("size", "shape", "sizes", "split_size", "repeats", "start", "end", "step", "length"),
        *("output_size", "kernel_size", "pad", "scale_factors", "scales_d", "scales_h", "scales_w"),
    )
)
_NUMBERS = frozenset(["index", "other"])  # arguments that hold sizes if they are numbers


def fingerprint(program: ExportedProgram) -> str:
    """A hash of the operators, their connections, and the names and shapes of the parameters.

    The batch size plays no part.
    """
    digest = hashlib.sha256()
    number: dict[fx.Node, int] = {}
    count = -1
    input_specs = program.graph_signature.input_specs
    specs = {spec.arg.name: spec for spec in input_specs if hasattr(spec.arg, "name")}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder":
            spec = specs[node.name]
            of_state = spec.target is not None and isinstance(value, Tensor)
            text = f"{spec.kind.name} {spec.target} {shape_of(value) if of_state else ()}"
        elif is_slice(node) and read_by(node) in number:
            # A slice of a whole axis is left out by export, so that whether it is there depends on
            # sizes.
            number[node] = number[read_by(node)]
            continue
        elif isinstance(value, Tensor | tuple | list) or node.op == "output":
            text = f"{node.target} {' '.join(_arguments(node, number))}"
        else:
            continue
        number[node] = count = count + 1
        digest.update(f"{text}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()[:32]


def _arguments(node: fx.Node, number: Mapping[fx.Node, int]) -> list[str]:
    """The arguments of a node as text, without sizes; values by the numbers of their nodes."""
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema is not None else []
    given = [(names[k] if k < len(names) else "", value) for k, value in enumerate(node.args)]
    shown = [_shown(value, number) for name, value in given if not _is_size(name, value)]
    return shown + [
        f"{key}={_shown(value, number)}"
        for key, value in node.kwargs.items()
        if not _is_size(key, value)
    ]


def _is_size(name: str, value: Any) -> bool:
    """Whether an argument is left out of the fingerprint."""
    if name not in _NUMBERS:
        return name in _SIZES
    symbolic = isinstance(value, fx.Node) and not isinstance(
        value.meta.get("val"), Tensor | tuple | list
    )
    return symbolic or (isinstance(value, int | float) and not isinstance(value, bool))


def _shown(value: Any, number: Mapping[fx.Node, int]) -> str:
    if isinstance(value, fx.Node):
        return f"%{number[value]}" if value in number else "#"
    if isinstance(value, tuple | list):
        return "(" + ",".join(_shown(x, number) for x in value) + ")"
    return "" if isinstance(value, torch.device | torch.dtype) else repr(value)
