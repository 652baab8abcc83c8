"""The two sides of a cut as plain modules.

Each holds the tensors that it reads and makes the very calls that the traced network makes. They
stay in eval mode, as the network was when it was traced. They have gradients, so that they can be
trained further with dropout off and the statistics of norms fixed.
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
    """One side of a cut, without tensors.

    Attributes:
        graph: its operators, as a function of the tensors that it reads, the constants and the
            values that it is given.
        states: state-dict names that it reads, in the order in which the graph takes them.
        constants: tensors that are no part of the state, in the order in which the graph takes
            them.
        parameters: names of `states` that are parameters.
        tied: name -> the first name of the same tensor.
        fallback: name -> value of buffers that state dicts do not hold.
    """

    graph: fx.GraphModule
    states: tuple[str, ...]
    constants: tuple[Tensor, ...]
    parameters: frozenset[str]
    tied: Mapping[str, str]
    fallback: Mapping[str, Tensor]


class Part(nn.Module):
    """One side of a cut with its tensors, under the names that they have in the network.

    Args:
        piece: the side without tensors.
        state: state dict of the network, whose tensors are copied.
    """

    def __init__(self, piece: Piece, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._run = piece.graph
        tensors: dict[str, Tensor] = {}
        for name in piece.states:
            first = piece.tied.get(name, name)
            value = state.get(name, piece.fallback.get(name))
            assert value is not None
            if first not in tensors:
                copy = value.detach().clone()
                tensors[first] = nn.Parameter(copy) if name in piece.parameters else copy
            _put(self, name, tensors[first], persistent=name not in piece.fallback)
        constants = [f"_constants.c{number}" for number in range(len(piece.constants))]
        for name, constant in zip(constants, piece.constants, strict=True):
            _put(self, name, constant.detach().clone(), persistent=False)
        names = [*piece.states, *constants]
        self._tensors: list[Callable[[Any], Tensor]] = [operator.attrgetter(name) for name in names]

    def call(self, values: Sequence[Any]) -> Any:
        """The outputs of the graph for these values."""
        return self._run(*[of(self) for of in self._tensors], *values)


class Trunk(Part):
    """The side before the cut: from the network's inputs to the tuple of crossing values."""

    def __init__(self, piece: Piece, state: Mapping[str, Tensor], cutting: Cutting) -> None:
        super().__init__(piece, state)
        self.keywords = cutting.traced.keywords
        self.shapes = [_shape(node.meta.get("val")) for node in cutting.inputs]

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The crossing values.

        Raises:
            DataError: the inputs are not of the kind and shapes that the network was traced with.
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
            if not isinstance(value, Tensor) or shape is None:
                continue
            if not _fits(tuple(value.shape), shape):
                wanted = ", ".join("any" if n is None else str(n) for n in shape)
                raise DataError(
                    f"An input has shape {tuple(value.shape)}, but the network was traced for"
                    f" ({wanted}); give inputs of that shape."
                )
        crossing: tuple[Any, ...] = self.call(values)
        return crossing


class Rest(Part):
    """The side behind the cut: from the crossing values to the network's output."""

    def __init__(self, piece: Piece, state: Mapping[str, Tensor], cutting: Cutting) -> None:
        super().__init__(piece, state)
        self._form = _Form(cutting.traced.program.call_spec.out_spec)

    def forward(self, *values: Any) -> Any:
        """The network's output, in its own form."""
        return pytree.tree_unflatten(list(self.call(values)), self._form.spec)


@dataclass(frozen=True)
class _Form:
    """The nested form of an output; copies of a module share it."""

    spec: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> _Form:
        return self


def piece_before(cutting: Cutting, cut: Cut) -> Piece:
    """The side before the cut, from the flattened inputs to the crossing values.

    Raises:
        TraceError: as `piece_behind`.
    """
    before = cutting.before(cut)
    outputs = tuple(node for node in cutting.nodes if node.name in set(cut.crossing))
    return _piece(
        cutting, [node for node in cutting.nodes if node in before], cutting.inputs, outputs
    )


def piece_behind(cutting: Cutting, cut: Cut) -> Piece:
    """The side behind the cut, from the crossing values to the flattened outputs.

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
    cutting: Cutting, nodes: Sequence[fx.Node], given: Sequence[fx.Node], outputs: Sequence[Any]
) -> Piece:
    """The side that runs `nodes`, from the values of `given` to `outputs`."""
    names = cutting.traced.state_names
    needed = _needed(cutting, nodes, given, outputs)
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
        # Both sides may read it, and so may the caller: each side writes to a copy.
        if cutting.root[node] in written:
            moved[node] = graph.call_function(torch.ops.aten.clone.default, (moved[node],))
    for node in cutting.nodes:
        if node in needed and node not in moved:
            moved[node] = graph.node_copy(node, lambda old: moved[old])
            moved[node].meta = {}
    graph.output(
        pytree.tree_map(lambda x: moved[x] if isinstance(x, fx.Node) else x, tuple(outputs))
    )
    parameters, fallback = _kinds_of_states(cutting, states)
    return Piece(
        graph=fx.GraphModule(nn.Module(), graph),
        states=tuple(states),
        constants=tuple(constants),
        parameters=parameters,
        tied={name: group[0] for group in cutting.traced.tied for name in group},
        fallback=fallback,
    )


def _kinds_of_states(
    cutting: Cutting, states: Sequence[str]
) -> tuple[frozenset[str], dict[str, Tensor]]:
    """Which of the names are parameters, and the values of buffers that state dicts do not hold."""
    program = cutting.traced.program
    specs = {
        str(spec.target): spec
        for spec in program.graph_signature.input_specs
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER)
    }
    parameters = frozenset(name for name in states if specs[name].kind == InputKind.PARAMETER)
    fallback = {}
    for name in states:
        if specs[name].persistent is False:
            holder = program.constants if name in program.constants else program.state_dict
            fallback[name] = holder[name]
    return parameters, fallback


def _needed(
    cutting: Cutting, nodes: Sequence[fx.Node], given: Sequence[fx.Node], outputs: Sequence[Any]
) -> set[fx.Node]:
    """All nodes that a side runs.

    These are its own nodes, and those they need that do not depend on the inputs, with every node
    that writes to the memory of these.
    """
    needed: set[fx.Node] = set(given)
    waiting = [*nodes, *(node for node in pytree.tree_leaves(outputs) if isinstance(node, fx.Node))]
    while waiting:
        node = waiting.pop()
        if node in needed:
            continue
        needed.add(node)
        waiting += [source for source in node.all_input_nodes if source not in needed]
        if node not in cutting.flowing:
            memory = cutting.root[node]
            writers = [writer for writer, root in cutting.written.items() if root is memory]
            waiting += [writer for writer in writers if writer not in cutting.flowing]
    return needed


def _constant(cutting: Cutting, node: fx.Node) -> Tensor:
    """The value of a constant of the graph.

    Raises:
        TraceError: it is a graph of its own (control flow).
    """
    program = cutting.traced.program
    if node.op == "get_attr":
        value = operator.attrgetter(str(node.target))(program.graph_module)
    else:
        specs = program.graph_signature.input_specs
        spec = next(spec for spec in specs if spec.arg.name == node.name)
        value = program.constants[str(spec.target)]
    if not isinstance(value, Tensor):
        raise TraceError(
            f"The network holds '{node.name}', a {type(value).__name__} of control flow, so that it"
            " cannot be cut in two; merge all of it."
        )
    return value


def _put(module: nn.Module, name: str, value: Tensor, *, persistent: bool) -> None:
    """Register a tensor under a dotted name; missing modules of the path are made."""
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
    """The shape of a traced input, with None for axes of any length; None if it is no tensor."""
    if not isinstance(value, Tensor):
        return None
    return [None if isinstance(n, torch.SymInt) else int(n) for n in value.shape]


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(n is None or n == given for given, n in zip(shape, wanted, strict=True))
