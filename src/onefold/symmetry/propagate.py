"""One walk through the traced graph, on which every operator's rule imposes its equalities."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from onefold.symmetry.exporting import shape_of
from onefold.symmetry.rules import operator_rules
from onefold.symmetry.rules.call import Call, Facts
from onefold.symmetry.rules.pointwise import pointwise
from onefold.symmetry.terms import (
    Atom,
    Case,
    Term,
    TermError,
    atoms,
    cases,
    freeze,
    fresh,
    live,
    resolve,
    segments_of,
    size,
)
from onefold.symmetry.tracing import TracedNetwork
from onefold.symmetry.unification import unify

_STATISTICS = ("running_mean", "running_var")
_MAX_RESTARTS = 50


def propagate(traced: TracedNetwork) -> Facts:
    """All that the rules find.

    A rule may ask for a view to be split into cases; the walk then starts again.
    """
    hints: frozenset[tuple[str, int]] = frozenset()
    for _ in range(_MAX_RESTARTS):
        facts = Facts(hints=hints)
        _walk(traced, facts)
        _ground_cases(facts)
        if not facts.wanted_hints - hints:
            break
        hints |= facts.wanted_hints
    return facts


def _walk(traced: TracedNetwork, facts: Facts) -> None:
    movable = _movable_states(traced)
    shared = {name: names[0] for names in traced.tied for name in names}
    first: dict[str, fx.Node] = {}
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            _input(traced, facts, node, movable, shared, first)
        elif node.op == "get_attr":
            value = node.meta.get("val")
            sizes = shape_of(value) if isinstance(value, Tensor) else None
            facts.axes[node] = (
                None if sizes is None else [fresh(n, True, "constant") for n in sizes]
            )
        elif node.op == "call_function":
            _call(facts, node)
        elif node.op == "output":
            for value in pytree.tree_leaves(node.args):
                if isinstance(value, fx.Node) and isinstance(value.meta.get("val"), Tensor):
                    for term in facts.axes[value]:
                        freeze(term, "output of the network")


def _ground_cases(facts: Facts) -> None:
    """Unify all cases of a tensor that lacks the axis by which they are told apart.

    It lacks the axis if it was summed over, or if all cases met one weight. The cases are also
    equal if an operator mixes along that axis and keeps it: a softmax over stacked parts.
    """
    while True:
        with_cases = [axes for axes in tensors_of(facts) if any(cases(term) for term in axes)]
        blocks = [block for axes in with_cases for block in segments_of(axes)]
        loose = [case for block in blocks for case in _loose(block)]
        for kept, mixed in facts.mixes:
            if found := cases(kept):
                mixed_atoms = atoms(mixed)
                loose += [case for case in found if case.index in mixed_atoms]
        if not loose:
            return
        for case in loose:
            for part in case.parts[1:]:
                unify(case.parts[0], part)
            if isinstance(resolve(case), Case):  # equal, but with frozen factors of another shape
                freeze(case, "cases without their index")


def _loose(block: Sequence[Atom | Case]) -> list[Case]:
    """The cases of one block of a tensor whose index is not an axis of that block."""
    return [term for term in block if isinstance(term, Case) and term.index not in block]


def tensors_of(facts: Facts) -> Iterator[list[Term]]:
    """Yield the axes of every tensor met on the walk, weights and features."""
    for axes in facts.axes.values():
        if axes and isinstance(axes[0], list | None):
            yield from (tensor for tensor in axes if tensor)
        elif axes:
            yield axes


def _movable_states(traced: TracedNetwork) -> set[str]:
    """The placeholders of parameters, of running statistics and of buffers that make a weight.

    Other buffers are constants of the architecture.
    """
    specs = traced.program.graph_signature.input_specs
    movable = {spec.arg.name for spec in specs if spec.kind == InputKind.PARAMETER}
    movable |= _making_weights(traced)
    for node in traced.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None or not any(a.name in _STATISTICS for a in schema.arguments):
            continue
        call = Call(node, Facts())
        statistics = [call.get(name) for name in _STATISTICS]
        movable |= {value.name for value in statistics if isinstance(value, fx.Node)}
    return movable


def _making_weights(traced: TracedNetwork) -> set[str]:
    """The buffers of the state that meet another tensor of it before they meet features.

    Examples are a basis, a mask of weights, a singular vector.
    """
    kinds = {spec.arg.name: spec for spec in traced.program.graph_signature.input_specs}
    depends: dict[fx.Node, set[fx.Node]] = {}  # node -> floating tensors of the state it depends on
    fed: set[fx.Node] = set()  # nodes that the network's inputs reach
    alone: dict[fx.Node, fx.Node] = {}  # node made of one buffer and nothing else -> that buffer
    buffers: set[fx.Node] = set()
    constants: set[fx.Node] = set()
    for node in traced.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and node.name in traced.state_names:
            floating = isinstance(value, Tensor) and value.is_floating_point()
            depends[node] = {node} if floating else set()
            spec = kinds[node.name]
            if floating and spec.kind == InputKind.BUFFER and spec.persistent:
                buffers.add(node)
                alone[node] = node
            continue
        if node.op == "placeholder":
            fed.add(node)
            continue
        sources = node.all_input_nodes
        depends[node] = {state for source in sources for state in depends.get(source, ())}
        if any(source in fed for source in sources) and isinstance(value, Tensor | list | tuple):
            fed.add(node)
            constants |= {alone[source] for source in sources if source in alone}
        elif len(depends[node]) == 1 and sources and all(source in alone for source in sources):
            alone[node] = next(iter(depends[node]))
        combined = len(depends[node]) <= 1 < len(sources)  # with a value that is no state
        if node.op == "output" or combined:
            constants |= {alone[source] for source in sources if source in alone}
    return {node.name for node in buffers - constants if node.users}


def _input(
    traced: TracedNetwork,
    facts: Facts,
    node: fx.Node,
    movable: set[str],
    shared: dict[str, str],
    first: dict[str, fx.Node],
) -> None:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        facts.axes[node] = None
        return
    name = traced.state_names.get(node.name)
    numeric = value.is_floating_point() or value.is_complex()
    moves = name is not None and node.name in movable and numeric
    reason = "" if moves else "input of the network" if name is None else "buffer"
    facts.axes[node] = [fresh(n, not moves, reason) for n in shape_of(value)]
    if name is None or not moves:
        return
    canonical = shared.get(name, name)
    facts.origin[node] = facts.direct[node] = canonical
    if canonical in first:  # tied tensors: one tensor under two names
        for term, first_term in zip(facts.axes[node], facts.axes[first[canonical]], strict=True):
            unify(term, first_term)
    first.setdefault(canonical, node)


def _call(facts: Facts, node: fx.Node) -> None:
    value = node.meta.get("val")
    if node.target is operator.getitem:
        _item(facts, node)
        return
    if not isinstance(value, Tensor | list | tuple):
        facts.axes[node] = None  # a size, an assertion
        return
    call = Call(node, facts)
    known = len(facts.uses)
    try:
        facts.axes[node] = _checked(call, _rule(call)(call))
    except Exception as error:  # a rule may fail in any way: freezing is always sound
        _unknown(facts, call, error)
    if node in facts.origin:
        return
    noted = {use.tensor for use in facts.uses[known:]}
    for source in node.all_input_nodes:
        # A weight that is used as a feature moves like one.
        if source in facts.origin and facts.origin[source] not in noted:
            for axis in range(len(facts.axes[source])):
                call.use(source, axis, "table")


def _item(facts: Facts, node: fx.Node) -> None:
    """One output of an operator with several."""
    source, index = node.all_input_nodes[0], node.args[1]
    if source.name in facts.kinds:
        facts.kinds[node.name] = facts.kinds[source.name]
    axes = facts.axes.get(source)
    is_tensor = isinstance(node.meta.get("val"), Tensor)
    facts.axes[node] = None
    if is_tensor and isinstance(axes, list) and isinstance(index, int):
        facts.axes[node] = axes[index]


def _rule(call: Call) -> Any:
    if call.name in operator_rules:
        return operator_rules.get(call.name)
    if torch.Tag.pointwise in getattr(call.node.target, "tags", ()):
        return pointwise
    raise TermError("no rule")


def _checked(call: Call, axes: Any) -> Any:
    """The rule's answer, if it fits the output's shape.

    An in-place operator keeps the terms of the tensor that it overwrites.

    Raises:
        TermError: the answer does not fit.
    """
    value = call.node.meta["val"]
    if isinstance(value, Tensor):
        axes = [resolve(term) for term in axes]
        if [size(term) for term in axes] != shape_of(value):
            raise TermError(f"rule for {call.name} returned {axes} for shape {shape_of(value)}")
        if _in_place(call.node):
            for new, old in zip(axes, call.axes(call.input), strict=True):
                unify(new, old)
        return axes
    if len(axes) != len(value):
        raise TermError(f"rule for {call.name} returned {len(axes)} outputs of {len(value)}")
    for terms, tensor in zip(axes, value, strict=True):
        if not isinstance(tensor, Tensor) or not terms:
            continue
        if [size(term) for term in terms] != shape_of(tensor):
            raise TermError(f"rule for {call.name} returned {terms} for shape {shape_of(tensor)}")
    return axes


def _in_place(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(
        a.alias_info is not None and a.alias_info.is_write for a in schema.arguments
    )


def _unknown(facts: Facts, call: Call, error: Exception) -> None:
    """Freeze all terms that reach an operator without a rule, and count it if any could move."""
    reached = [term for node in call.node.all_input_nodes for term in _flat(facts.axes.get(node))]
    if live(reached):
        facts.unknown[call.name] = facts.unknown.get(call.name, 0) + 1
    without = str(error) == "no rule"
    why = "which has no rule" if without else "called in a way its rule does not know"
    reason = f"reaches {call.name}, {why}"
    for term in reached:
        freeze(term, reason)

    def frozen(value: Any) -> list[Term] | None:
        if not isinstance(value, Tensor):
            return None
        return [fresh(n, True, reason) for n in shape_of(value)]

    output = call.node.meta["val"]
    several = not isinstance(output, Tensor)
    facts.axes[call.node] = [frozen(value) for value in output] if several else frozen(output)


def _flat(axes: Any) -> list[Any]:
    if not axes:
        return []
    several = isinstance(axes[0], list | None)  # an operator with several outputs
    return [term for tensor in axes for term in tensor or []] if several else list(axes)
