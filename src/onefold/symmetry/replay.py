"""A traced graph run for several members in lockstep: each node for all members, then the next one.

So the features of all members at a node are there at the same time, and nothing has to be hooked,
stored or run twice. A value is freed soon after its last use. Nothing is copied, but for
parameters, buffers and inputs that the graph would change in place.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from onefold.errors import MembersError, TraceError

Visit = Callable[[str, list[Any]], "list[Any] | None"]
_STATE = (InputKind.PARAMETER, InputKind.BUFFER)


@dataclass(frozen=True)
class Step:
    """One node of a plan.

    It calls `target` on `args`, with the values of other slots put in, stores the result in slot
    `out`, then clears the slots `dead`.

    Attributes:
        name: name of the node.
        target: function that it calls.
        args: positional arguments, with `_Slot` in place of values.
        kwargs: keyword arguments, with `_Slot` in place of values.
        holes: (position in args, slot) of every value that is an argument itself.
        nested: whether values lie deeper inside args or kwargs.
        out: slot of the result.
        dead: slots that no later step reads.
    """

    name: str
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    holes: tuple[tuple[int, int], ...]
    nested: bool
    out: int
    dead: tuple[int, ...]


@dataclass(frozen=True)
class _Slot:
    """A reference to a value inside a nested argument."""

    index: int


@dataclass
class Plan:
    """An exported program ready to run.

    Attributes:
        steps: its nodes in execution order.
        inputs: (name, slot) of every input.
        states: (slot, state-dict name, shape, fallback tensor if a state dict may lack the name).
        constants: (slot, tensor).
        changed: slots of inputs that a node writes to, of which every member needs a copy.
        unused: slots of inputs that no node reads.
        outputs: nested output, with slots in place of values.
        out_spec: the form in which the network returns it.
        slots: number of slots.
        names: names of all nodes and inputs that can be visited.
    """

    steps: list[Step] = field(default_factory=list)
    inputs: list[tuple[str, int]] = field(default_factory=list)
    states: list[tuple[int, str, torch.Size, Tensor | None]] = field(default_factory=list)
    constants: list[tuple[int, Any]] = field(default_factory=list)
    changed: frozenset[int] = frozenset()
    unused: frozenset[int] = frozenset()
    outputs: Any = None
    out_spec: Any = None
    slots: int = 0
    names: frozenset[str] = frozenset()

    def run(
        self,
        states: Sequence[Mapping[str, Tensor]],
        inputs: Sequence[Any],
        visit: Visit | None = None,
        nodes: Collection[str] = (),
        until: str | None = None,
    ) -> list[Any]:
        """Run all steps for all members; see `TracedNetwork.replay`.

        Args:
            states: one state dict for each member.
            inputs: flattened inputs, in the program's order.
            visit: called after each of `nodes`, see `TracedNetwork.replay`.
            nodes: names of nodes or inputs to visit.
            until: node after which the run stops; None for the whole run.

        Returns:
            The network's output for each member; empty if the run stopped early.
        """
        nodes = frozenset(nodes)
        self._check_names(nodes if until is None else {*nodes, until})
        values = [self.start(state, inputs) for state in states]
        for name, slot in self.inputs:
            if visit is not None and name in nodes:
                _replace(values, slot, name, visit)
            if name == until:
                return []
        to_free: Sequence[int] = ()
        for step in self.steps:
            for member in values:
                args: Sequence[Any] = step.args
                kwargs = step.kwargs
                if step.nested:
                    args, kwargs = fill(args, member), fill(kwargs, member)
                elif step.holes:
                    args = list(args)
                    for position, slot in step.holes:
                        args[position] = member[slot]
                member[step.out] = step.target(*args, **kwargs)
            args = ()
            # One step late, as a network's own local variables live on too: freeing at once lets
            # the heap shrink and grow at every step.
            for slot in to_free:
                for member in values:
                    member[slot] = None
            to_free = step.dead
            if visit is not None and step.name in nodes:
                _replace(values, step.out, step.name, visit)
            if step.name == until:
                return []
        outputs = [fill(self.outputs, member) for member in values]
        return [pytree.tree_unflatten(output, self.out_spec) for output in outputs]

    def _check_names(self, nodes: Collection[str]) -> None:
        if missing := set(nodes) - self.names:
            raise TraceError(
                f"The traced graph has no node '{min(missing)}'; use the node names of a spec found"
                " from the same trace."
            )

    def start(self, state: Mapping[str, Tensor], inputs: Sequence[Any]) -> list[Any]:
        """The slots of one member before the first step: inputs, parameters, buffers and constants.

        Raises:
            MembersError: the state dict lacks a tensor, or holds one of another shape.
        """
        values: list[Any] = [None] * self.slots
        for (_, slot), value in zip(self.inputs, inputs, strict=True):
            values[slot] = value
        device = None
        for slot, name, shape, fallback in self.states:
            value = state.get(name, fallback)
            if value is None:
                raise MembersError(
                    f"A member's state dict lacks '{name}'; pass state dicts of the traced"
                    " architecture."
                )
            if value.shape != shape:
                raise MembersError(
                    f"'{name}' has shape {tuple(value.shape)} in a member, but {tuple(shape)} in"
                    " the traced network."
                )
            device = value.device if device is None else device
            values[slot] = value
        for slot, value in self.constants:
            moves = isinstance(value, Tensor) and device is not None
            values[slot] = value.to(device) if moves else value
        for slot in self.changed:
            values[slot] = values[slot].clone()
        for slot in self.unused:
            values[slot] = None
        return values


def _replace(values: list[list[Any]], slot: int, name: str, visit: Visit) -> None:
    """Visit a node, and go on with the values that the visitor returns, if it returns any."""
    changed = visit(name, [member[slot] for member in values])
    if changed is None:
        return
    if len(changed) != len(values):
        raise TraceError(
            f"The visitor of node '{name}' returned {len(changed)} values for {len(values)}"
            " members; return one for each."
        )
    for member, value in zip(values, changed, strict=True):
        member[slot] = value


def fill(value: Any, slots: list[Any]) -> Any:
    """The nested argument with slots replaced by their values."""
    if isinstance(value, _Slot):
        return slots[value.index]
    if isinstance(value, tuple | list):
        return [fill(x, slots) for x in value]
    if isinstance(value, dict):
        return {key: fill(x, slots) for key, x in value.items()}
    return value


def compile_plan(program: ExportedProgram) -> Plan:
    """The plan of an exported program.

    Checks of input metadata that export adds are left out, so that inputs of another dtype run.
    """
    nodes = [node for node in program.graph.nodes if not is_assertion(node)]
    slot = {node: k for k, node in enumerate(nodes)}
    last: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        for used in node.all_input_nodes:
            last[used] = node
    dead: dict[fx.Node, list[int]] = {}
    for used, user in last.items():
        dead.setdefault(user, []).append(slot[used])
    signature = program.graph_signature
    specs = {spec.arg.name: spec for spec in signature.input_specs if hasattr(spec.arg, "name")}
    plan = Plan(slots=len(nodes), out_spec=program.call_spec.out_spec)
    unused = []
    for node in nodes:
        if node.op == "placeholder":
            _add_input(plan, program, specs[node.name], node, slot[node])
            if node not in last:
                unused.append(slot[node])
        elif node.op == "get_attr":
            constant = operator.attrgetter(str(node.target))(program.graph_module)
            plan.constants.append((slot[node], constant))
        elif node.op == "output":
            kinds = [spec.kind for spec in signature.output_specs]
            plan.outputs = [
                _template(v, slot)
                for v, kind in zip(node.args[0], kinds, strict=True)
                if kind == OutputKind.USER_OUTPUT
            ]
        else:
            unread = [slot[node]] if node not in last and not node.users else []
            plan.steps.append(_step(node, slot, (*dead.get(node, []), *unread)))
    plan.names = frozenset([step.name for step in plan.steps] + [name for name, _ in plan.inputs])
    written = memory_of(nodes)[1].values()
    plan.changed = frozenset(slot[r] for r in written if r.op in ("placeholder", "get_attr"))
    plan.unused = frozenset(unused) - plan.changed - {s for name, s in plan.inputs}
    return plan


def _add_input(plan: Plan, program: ExportedProgram, spec: Any, node: fx.Node, slot: int) -> None:
    if spec.kind == InputKind.USER_INPUT:
        plan.inputs.append((node.name, slot))
    elif spec.kind in _STATE:
        fallback = None
        if spec.kind == InputKind.BUFFER and spec.persistent is False:
            fallback = program.constants.get(spec.target, program.state_dict.get(spec.target))
        plan.states.append((slot, spec.target, torch.Size(node.meta["val"].shape), fallback))
    else:
        plan.constants.append((slot, program.constants[spec.target]))


def _step(node: fx.Node, slot: dict[fx.Node, int], dead: tuple[int, ...]) -> Step:
    args = tuple(_template(arg, slot) for arg in node.args)
    kwargs = {key: _template(value, slot) for key, value in node.kwargs.items()}
    others = [*(arg for arg in args if not isinstance(arg, _Slot)), *kwargs.values()]
    nested = any(_holds_slot(value) for value in others)
    holes = tuple((k, arg.index) for k, arg in enumerate(args) if isinstance(arg, _Slot))
    target = node.target
    assert callable(target)
    return Step(node.name, target, args, kwargs, holes, nested, slot[node], dead)


def _template(value: Any, slot: dict[fx.Node, int]) -> Any:
    if isinstance(value, fx.Node):
        return _Slot(slot[value])
    if isinstance(value, tuple | list):
        return [_template(x, slot) for x in value]
    if isinstance(value, dict):
        return {key: _template(x, slot) for key, x in value.items()}
    return value


def _holds_slot(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_holds_slot(x) for x in value)
    return isinstance(value, _Slot)


def is_assertion(node: fx.Node) -> bool:
    """Whether a node only checks sizes."""
    name = getattr(node.target, "__name__", str(node.target))
    checks = name.startswith(("_assert", "sym_constrain", "assert"))
    return node.op == "call_function" and not node.users and checks


def memory_of(nodes: Sequence[fx.Node]) -> tuple[dict[fx.Node, fx.Node], dict[fx.Node, fx.Node]]:
    """The node that made the memory of each node's value, and the nodes that write.

    Returns:
        Two dicts: node -> node that made its memory, found through views; and node that writes ->
            node that made the memory it writes to.
    """
    root: dict[fx.Node, fx.Node] = {}
    written: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        root[node] = node
        if node.target is operator.getitem and isinstance(node.args[0], fx.Node):
            root[node] = root[node.args[0]]
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            continue
        for argument, value in zip(schema.arguments, node.args, strict=False):
            if argument.alias_info is None or not isinstance(value, fx.Node):
                continue
            root[node] = root[value]
            if argument.alias_info.is_write:
                written[node] = root[value]
    return root, written
