"""The two sides of a cut as plain modules: each holds the tensors that it reads and makes the very
calls that the traced network makes.

They are in evaluation mode for good, as the network was when it was traced. Their gradients are
there, so that they can be trained further with dropout and the statistics of norms at rest.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind, OutputKind
from torch.nn import Parameter
from torch.utils import _pytree as pytree

from onefold.errors import DataError, TraceError
from onefold.symmetry.cutting import Cut, Cutting


@dataclass(frozen=True)
class Piece:
    """One side of a cut, without tensors. states: the state-dict names that it reads, in the order
    in which the graph takes them; constants: tensors that are no part of the state, likewise.
    parameters: which of the names are parameters. tied: name -> the first name of the same tensor.
    """

    graph: fx.GraphModule
    states: tuple[str, ...]
    constants: tuple[Tensor, ...]
    parameters: frozenset[str]
    tied: Mapping[str, str]
    fallback: Mapping[str, Tensor]  # buffers that state dicts do not hold


class Part(nn.Module):
    """One side of a cut with its tensors, under the names that they have in the network."""

    def __init__(self, piece: Piece, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._run = piece.graph
        made: dict[str, Tensor] = {}
        for name in piece.states:
            first = piece.tied.get(name, name)
            value = state.get(name, piece.fallback.get(name))
            assert value is not None
            if first not in made:
                made[first] = (
                    nn.Parameter(value.detach().clone())
                    if name in piece.parameters
                    else value.detach().clone()
                )
            _put(self, name, made[first], persistent=name not in piece.fallback)
        for number, constant in enumerate(piece.constants):
            _put(self, f"_constants.c{number}", constant.detach().clone(), persistent=False)
        names = [
            *piece.states,
            *(f"_constants.c{number}" for number in range(len(piece.constants))),
        ]
        self._tensors: list[Callable[[Any], Tensor]] = [operator.attrgetter(name) for name in names]

    def call(self, values: Sequence[Any]) -> Any:
        """What the graph makes of these values."""
        return self._run(*[of(self) for of in self._tensors], *values)


class Trunk(Part):
    """What runs before the cut: the network's inputs to the tuple of crossing values."""

    def __init__(self, piece: Piece, state: Mapping[str, Tensor], cutting: Cutting) -> None:
        super().__init__(piece, state)
        self.keywords = cutting.traced.keywords
        self.shapes = [_shape(node.meta.get("val")) for node in cutting.inputs]

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The crossing values.

        Raises DataError where the inputs are not of the kind and shapes that the network was traced
        with.
        """
        if set(kwargs) != set(self.keywords):
            raise DataError(
                f"The network was traced with keywords {list(self.keywords)}, but was given"
                f" {sorted(kwargs)}; pass the same ones."
            )
        ordered = {name: kwargs[name] for name in self.keywords}
        values = pytree.tree_leaves((args, ordered), is_leaf=lambda x: x is None)
        if len(values) != len(self.shapes):
            raise DataError(
                f"The network was traced with {len(self.shapes)} inputs, but was given"
                f" {len(values)}; pass the same kind of batch."
            )
        for shape, value in zip(self.shapes, values, strict=True):
            if (
                isinstance(value, Tensor)
                and shape is not None
                and not _fits(tuple(value.shape), shape)
            ):
                wanted = ", ".join("any" if n is None else str(n) for n in shape)
                raise DataError(
                    f"An input has shape {tuple(value.shape)}, but the network was traced for"
                    f" ({wanted}); give inputs of that shape."
                )
        found: tuple[Any, ...] = self.call(values)
        return found


class Rest(Part):
    """What runs behind the cut: the crossing values to what the network returns."""

    def __init__(self, piece: Piece, state: Mapping[str, Tensor], cutting: Cutting) -> None:
        super().__init__(piece, state)
        self._form = _Form(cutting.traced.program.call_spec.out_spec)

    def forward(self, *values: Any) -> Any:
        """What the network returns, in its own form."""
        return pytree.tree_unflatten(list(self.call(values)), self._form.spec)


@dataclass(frozen=True)
class _Form:
    """The nested form of an output; copies of a module share it."""

    spec: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> _Form:
        return self


def piece_before(cutting: Cutting, cut: Cut) -> Piece:
    """The side before the cut, which takes the flattened inputs and returns the crossing values.

    Raises TraceError as `piece_behind`.
    """
    before = cutting.before(cut)
    outputs = tuple(node for node in cutting.nodes if node.name in set(cut.crossing))
    return _piece(
        cutting, [node for node in cutting.nodes if node in before], cutting.inputs, outputs
    )


def piece_behind(cutting: Cutting, cut: Cut) -> Piece:
    """The side behind the cut, which takes the crossing values and returns the flattened outputs.

    Raises:
        TraceError: the graph holds a graph of its own (control flow), which cannot be moved.
    """
    before = cutting.before(cut)
    crossing = [node for node in cutting.nodes if node.name in set(cut.crossing)]
    kinds = [spec.kind for spec in cutting.traced.program.graph_signature.output_specs]
    returned = next(node for node in cutting.nodes if node.op == "output").args[0]
    assert isinstance(returned, tuple | list)
    outputs = [
        value for value, kind in zip(returned, kinds, strict=True) if kind == OutputKind.USER_OUTPUT
    ]
    behind = [node for node in cutting.nodes if node in cutting.flowing and node not in before]
    return _piece(cutting, behind, crossing, outputs)


def _piece(
    cutting: Cutting, own: Sequence[fx.Node], given: Sequence[fx.Node], outputs: Sequence[Any]
) -> Piece:
    program, names = cutting.traced.program, cutting.traced.state_names
    needed = _needed(cutting, own, given, outputs)
    graph = fx.Graph()
    moved: dict[fx.Node, fx.Node] = {}
    states: list[str] = []
    constants: list[Tensor] = []
    fixed = [
        node
        for node in cutting.nodes
        if node in needed and node.op in ("placeholder", "get_attr") and node not in given
    ]
    for node in sorted(fixed, key=lambda node: node.name not in names):
        moved[node] = graph.placeholder(node.name)
        if node.name in names:
            states.append(names[node.name])
        else:
            constants.append(_constant(cutting, node))
    for node in given:
        moved[node] = graph.placeholder(node.name)
    written = {cutting.written[node] for node in needed if node in cutting.written}
    for node in (*fixed, *given):
        if (
            cutting.root[node] in written
        ):  # several sides read it, and the caller may too: each writes to a copy
            moved[node] = graph.call_function(torch.ops.aten.clone.default, (moved[node],))
    for node in cutting.nodes:
        if node in needed and node not in moved:
            moved[node] = graph.node_copy(node, lambda old: moved[old])
            moved[node].meta = {}
    graph.output(
        pytree.tree_map(lambda x: moved[x] if isinstance(x, fx.Node) else x, tuple(outputs))
    )
    specs = {
        str(spec.target): spec
        for spec in program.graph_signature.input_specs
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER)
    }
    parameters = frozenset(name for name in states if specs[name].kind == InputKind.PARAMETER)
    fallback = {}
    for name in states:
        if specs[name].persistent is False:
            fallback[name] = (
                program.constants[name] if name in program.constants else program.state_dict[name]
            )
    tied = {name: group[0] for group in cutting.traced.tied for name in group}
    return Piece(
        fx.GraphModule(nn.Module(), graph),
        tuple(states),
        tuple(constants),
        parameters,
        tied,
        fallback,
    )


def _needed(
    cutting: Cutting, own: Sequence[fx.Node], given: Sequence[fx.Node], outputs: Sequence[Any]
) -> set[fx.Node]:
    """All nodes that a side runs: its own, and what they need that does not depend on the inputs,
    with whatever is written to that.
    """
    needed: set[fx.Node] = set(given)
    waiting = [*own, *(node for node in pytree.tree_leaves(outputs) if isinstance(node, fx.Node))]
    while waiting:
        node = waiting.pop()
        if node in needed:
            continue
        needed.add(node)
        waiting += [source for source in node.all_input_nodes if source not in needed]
        if node not in cutting.flowing:
            waiting += [
                w
                for w, memory in cutting.written.items()
                if memory is cutting.root[node] and w not in cutting.flowing
            ]
    return needed


def _constant(cutting: Cutting, node: fx.Node) -> Tensor:
    """The value of a constant of the graph."""
    program = cutting.traced.program
    if node.op == "get_attr":
        value = operator.attrgetter(str(node.target))(program.graph_module)
    else:
        spec = next(
            spec for spec in program.graph_signature.input_specs if spec.arg.name == node.name
        )
        value = program.constants[str(spec.target)]
    if not isinstance(value, Tensor):
        raise TraceError(
            f"The network holds '{node.name}', a {type(value).__name__} of control flow, so that it"
            " cannot be cut in two; merge all of it."
        )
    return value


def _put(module: nn.Module, name: str, value: Tensor, *, persistent: bool) -> None:
    """Register a tensor under a dotted name, with empty modules on the way."""
    *path, last = name.split(".")
    for step in path:
        if step not in module._modules:
            module.add_module(step, nn.Module())
        child = module._modules[step]
        assert child is not None
        module = child
    if isinstance(value, Parameter):
        module.register_parameter(last, value)
    else:
        module.register_buffer(last, value, persistent=persistent)


def _shape(value: Any) -> list[int | None] | None:
    """The shape of a traced input, with None for axes of any length; None for what is no tensor."""
    return (
        [None if isinstance(n, torch.SymInt) else int(n) for n in value.shape]
        if isinstance(value, Tensor)
        else None
    )


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        n is None or n == own for own, n in zip(shape, wanted, strict=True)
    )
