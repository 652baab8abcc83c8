"""Inputs of several sizes: which trace of a network runs on inputs of which shapes.

A trace holds sizes: those that the network works out in Python (how much of a table of positions it
takes, how large an image is made) are numbers in the arguments of its operators. So inputs of
another shape need another trace. It represents the same network if it holds the same operators on
the same values in the same order (`renamed_to_match`). Its numbers may differ, and it may lack or
add slices, since export leaves out those that take a whole axis.

The first other shape is traced with the axes that differ left open, which mostly covers all shapes
to come. Shapes that it does not cover are traced one by one (recurrent layers take any length, but
export fixes it). The plans of the `KEPT` shapes used last are cached.
"""

from __future__ import annotations

import builtins
import inspect
import keyword
import operator
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from onefold.symmetry.replay import Plan, is_assertion

KEPT = 32  # cached plans of single shapes; one of a network of 1,000 operators takes about 1 MB
LAST = 2**63 - 1  # the end of a slice without an end

# Names of numbers that choose axes and parts; all other numbers may depend on sizes.
_STRUCTURE = frozenset(
    (
        *("dim", "dims", "dim0", "dim1", "axis", "axis0", "axis1", "start_dim", "end_dim"),
        *("source", "destination", "groups", "num_groups", "num_layers"),
        *("upscale_factor", "downscale_factor"),
    )
)


@dataclass
class Cover:
    """One trace made ready: the inputs that it covers, and the plan that runs on them.

    Attributes:
        inputs: traced value of each input.
        ranges: expression of an open axis -> its lowest and highest length.
        guards: further conditions of torch.export, over L, the arguments by name.
        signature: signature of the network's `forward`.
        plan: plan that runs on the inputs.
    """

    inputs: list[Any]
    ranges: Mapping[Any, tuple[Any, Any]]
    guards: list[CodeType]
    signature: inspect.Signature
    plan: Plan

    @staticmethod
    def of(program: ExportedProgram, model: nn.Module, plan: Plan) -> Cover:
        """The cover of `program`, a trace of `model`."""
        names = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
        specs = program.graph_signature.input_specs
        given = [spec for spec in specs if spec.kind == InputKind.USER_INPUT]
        inputs = [names[spec.arg.name].meta.get("val") for spec in given]
        allowed = program.range_constraints.items()
        ranges = {expression: (r.lower, r.upper) for expression, r in allowed}
        guards = [compile(g, "guard", "eval") for g in getattr(program, "_guards_code", None) or []]
        return Cover(inputs, ranges, guards, inspect.signature(model.forward), plan)

    def accepts(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], inputs: Sequence[Any]
    ) -> bool:
        """Whether inputs of these shapes are covered.

        An open axis of length 1 is not covered: export treats 1 as a special size.
        """
        symbols: dict[Any, int] = {}
        for traced, value in zip(self.inputs, inputs, strict=True):
            if not isinstance(value, Tensor):
                continue
            if not isinstance(traced, Tensor) or traced.dim() != value.dim():
                return False
            for expected, given in zip(traced.shape, value.shape, strict=True):
                if not isinstance(expected, torch.SymInt):
                    if expected != given:
                        return False
                    continue
                expression = expected.node.expr
                lowest, highest = self.ranges.get(expression, (None, None))
                if lowest is None or given == 1 or not lowest <= given <= highest:
                    return False
                if symbols.setdefault(expression, given) != given:
                    return False
        return self._guarded(args, kwargs)

    def _guarded(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        if not self.guards:
            return True
        bound = self.signature.bind(*args, **kwargs).arguments
        try:
            return all(eval(guard, {"L": bound, "torch": torch}) for guard in self.guards)
        except Exception:  # a condition of an unknown kind: not covered, to be safe
            return False


@dataclass
class Sizes:
    """The traces of one network.

    Attributes:
        covers: traces of many shapes each, the first trace first.
        first: shapes of the first trace's inputs; None for an input that is no tensor.
        single: shapes of inputs -> plan for these alone, the last used last; at most KEPT.
    """

    covers: list[Cover]
    first: list[list[int] | None]
    single: OrderedDict[Any, Plan] = field(default_factory=OrderedDict)
    _axes: set[tuple[int, int]] = field(default_factory=set)
    _tried: set[frozenset[tuple[int, int]]] = field(default_factory=set)

    def plan(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], inputs: Sequence[Any]
    ) -> Plan | None:
        """The plan that runs on these inputs, if there is one."""
        key = _shapes(inputs)
        if key in self.single:
            self.single.move_to_end(key)
            return self.single[key]
        return next((c.plan for c in self.covers if c.accepts(args, kwargs, inputs)), None)

    def to_try(self, inputs: Sequence[Any]) -> list[tuple[int, int]]:
        """The axes (input, axis) to leave open in another trace; none if that was tried before.

        The first axis of an input is open anyway, and an axis of length 1 never is.
        """
        shapes = _shapes(inputs)
        if len(shapes) != len(self.first):
            return []
        for number, (first, shape) in enumerate(zip(self.first, shapes, strict=True)):
            if (first is None) != (shape is None) or len(first or ()) != len(shape or ()):
                return []
            pairs = enumerate(zip(first or (), shape or (), strict=True))
            self._axes |= {(number, axis) for axis, (a, b) in pairs if axis and a != b and b != 1}
        wanted = frozenset(self._axes)
        if not wanted or wanted in self._tried:
            return []
        self._tried.add(wanted)
        return sorted(wanted)

    def keep(self, inputs: Sequence[Any], plan: Plan) -> Plan:
        """Cache the plan of a single shape, and drop the one that was not used for longest."""
        self.single[_shapes(inputs)] = plan
        if len(self.single) > KEPT:
            self.single.popitem(last=False)
        return plan


def _shapes(inputs: Sequence[Any]) -> tuple[tuple[int, ...] | None, ...]:
    return tuple(tuple(x.shape) if isinstance(x, Tensor) else None for x in inputs)


def is_slice(node: fx.Node) -> bool:
    """Whether a node takes a part of an axis."""
    return node.target is torch.ops.aten.slice.Tensor


def read_by(node: fx.Node) -> fx.Node:
    """The node that a slice is taken of."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def tidy(program: ExportedProgram) -> None:
    """Erase slices that take all of an axis; name the nodes by operators on tensors alone.

    So the graphs of a network have the same names, whichever of their sizes are open.
    """
    nodes = list(program.graph.nodes)
    for node in nodes:
        if is_slice(node) and _whole(node):
            node.replace_all_uses_with(read_by(node))
            program.graph.erase_node(node)
    taken = {node.name for node in program.graph.nodes if node.op != "call_function"}
    numbers: dict[str, int] = {}
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    for node in calls:
        if _is_value(node):
            node.name = _free(_base(node), numbers, taken)
    for node in calls:
        if not _is_value(node):
            node.name = _free("size_" + _base(node), numbers, taken)


def renamed_to_match(program: ExportedProgram, first: ExportedProgram) -> bool:
    """Give the nodes of `program` the names that they have in `first`, another trace.

    Slices may be in one of the two only. A name of `first` that such a slice has then names the
    value that the slice reads.

    Args:
        program: trace to rename, in place.
        first: trace of the same network that gives the names.

    Returns:
        False, and nothing is changed, if the two hold other operators.
    """
    left = [node for node in first.graph.nodes if _counts(node)]
    right = [node for node in program.graph.nodes if _counts(node)]
    same: dict[fx.Node, fx.Node] = {}  # node of `program` -> node of `first`
    stands: dict[fx.Node, fx.Node] = {}  # slice of `first` that is missing -> the node it reads
    extra: list[fx.Node] = []
    kinds = [{s.arg.name: s for s in p.graph_signature.input_specs} for p in (first, program)]
    i = j = 0
    while i < len(left) or j < len(right):
        a = left[i] if i < len(left) else None
        b = right[j] if j < len(right) else None
        if a is not None and b is not None and _alike(a, b, same, stands, *kinds):
            same[b] = a
            i, j = i + 1, j + 1
        elif a is not None and is_slice(a):
            stands[a] = stands.get(read_by(a), read_by(a))
            i += 1
        elif b is not None and is_slice(b) and read_by(b) in same and _start(b) == 0:
            same[b] = same[read_by(b)]
            extra.append(b)
            j += 1
        else:
            return False
    _rename(program, same, stands, extra)
    return True


def _rename(
    program: ExportedProgram,
    same: Mapping[fx.Node, fx.Node],
    stands: Mapping[fx.Node, fx.Node],
    extra: Sequence[fx.Node],
) -> None:
    """Name the nodes of `program`, and add an alias for each slice of `first` that is missing."""
    back = {old: node for node, old in same.items() if node not in extra}
    for node in program.graph.nodes:
        if node.op == "call_function":
            known = node in same and node not in extra
            node.name = same[node].name if known else f"own_{node.name}"
    for missing, read in stands.items():
        source = back[read]
        with program.graph.inserting_after(source):
            alias = program.graph.call_function(torch.ops.aten.alias.default, (source,))
        alias.name, alias.meta = missing.name, dict(source.meta)
        for user, old in same.items():
            if missing in old.all_input_nodes and user is not alias:
                user.replace_input_with(source, alias)


def _alike(
    a: fx.Node,
    b: fx.Node,
    same: Mapping[fx.Node, fx.Node],
    stands: Mapping[fx.Node, fx.Node],
    first: Mapping[str, Any],
    second: Mapping[str, Any],
) -> bool:
    """Whether two nodes are the same operator on the same values.

    Args:
        a: node of the first trace.
        b: node of the second one.
        same: node of the second trace -> node of the first.
        stands: slice of the first trace that the second lacks -> the node it reads.
        first: placeholder -> its input spec, of the first trace.
        second: placeholder -> its input spec, of the second trace.
    """
    if a.op != b.op:
        return False
    if a.op == "placeholder":
        left_spec, right_spec = first[a.name], second[b.name]
        user_input = left_spec.kind == InputKind.USER_INPUT
        same_target = user_input or left_spec.target == right_spec.target
        return left_spec.kind == right_spec.kind and same_target and _rank(a) == _rank(b)
    if a.target != b.target or _rank(a) != _rank(b):
        return False
    schema = getattr(a.target, "_schema", None)
    names = [] if schema is None else [x.name for x in schema.arguments]
    left, right = _given(a, names), _given(b, names)

    def equal(x: Any, y: Any, free: bool) -> bool:
        if isinstance(x, tuple | list) and isinstance(y, tuple | list):
            return len(x) == len(y) and all(equal(p, q, free) for p, q in zip(x, y, strict=True))
        if isinstance(x, fx.Node) and isinstance(y, fx.Node) and _counts(x) and _counts(y):
            return y in same and same[y] is stands.get(x, x)
        if _number(x) and _number(y):
            return free or x == y
        return type(x) is type(y) and bool(x == y)

    return left.keys() == right.keys() and all(
        equal(left[name], right[name], name not in _STRUCTURE and a.target is not operator.getitem)
        for name in left
    )


def _given(node: fx.Node, names: Sequence[str]) -> dict[str, Any]:
    """The arguments of a node by name, with defaults."""
    schema = getattr(node.target, "_schema", None)
    arguments = schema.arguments if schema is not None else ()
    given = {x.name: x.default_value for x in arguments if x.has_default_value()}
    given |= {names[k] if k < len(names) else str(k): value for k, value in enumerate(node.args)}
    return given | dict(node.kwargs)


def _number(value: Any) -> bool:
    if isinstance(value, fx.Node):
        return not _counts(value)
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _counts(node: fx.Node) -> bool:
    """Whether a node belongs to the network itself: it is no size and no check of sizes."""
    return node.op != "call_function" or _is_value(node)


def _is_value(node: fx.Node) -> bool:
    """Whether a node holds tensors, and no size. A node that writes and returns nothing counts."""
    sizes = torch.SymInt | torch.SymFloat | torch.SymBool | int | float | bool
    value = node.meta.get("val")
    return not is_assertion(node) and not isinstance(value, sizes)


def _rank(node: fx.Node) -> int | None:
    value = node.meta.get("val")
    return value.dim() if isinstance(value, Tensor) else None


def _start(node: fx.Node) -> Any:
    return (node.args[2] if len(node.args) > 2 else None) or 0


def _whole(node: fx.Node) -> bool:
    end = node.args[3] if len(node.args) > 3 else None
    step = node.args[4] if len(node.args) > 4 else 1
    return bool(_start(node) == 0 and end in (None, LAST) and step == 1 and not node.kwargs)


def _base(node: fx.Node) -> str:
    """The base of the names of an operator's nodes; that of a slice holds the node it reads."""
    if is_slice(node):
        return f"slice_of_{read_by(node).name}"
    target: Any = node.target
    name = target.__name__ if not hasattr(target, "_schema") else target._schema.name
    return str(name).split("::")[-1].split(".")[0].lower()


def _free(base: str, numbers: dict[str, int], taken: set[str]) -> str:
    """The next name of this base that is not taken, chosen as fx does."""
    while True:
        number = numbers.get(base, 0)
        numbers[base] = number + 1
        name = f"{base}_{number}" if number else base
        if not number and (keyword.iskeyword(name) or hasattr(builtins, name)):
            continue
        if name not in taken:
            taken.add(name)
            return name
