"""Run a traced graph for several members in lockstep: every node for all members before the next
node.

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
    """One node: call `target` on `args` with the values of other slots put in, store the result in
    slot `out`, then forget `dead`.
    """

    name: str
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    holes: tuple[tuple[int, int], ...]  # (position in args, slot)
    nested: bool  # whether nodes are found deeper inside args or kwargs
    out: int
    dead: tuple[int, ...]


@dataclass(frozen=True)
class _Slot:
    """A reference to a value inside a nested argument."""

    index: int


@dataclass
class Plan:
    """An exported program made ready to run: its steps, where its inputs go, and what it returns.

    states: (slot, state-dict name, shape, fallback tensor where the name may be missing from a
    state dict). constants: (slot, tensor). changed: slots of inputs that a node writes to, which
    every member needs a copy of. unused: slots of inputs that no node reads. outputs: what is
    returned, with slots for values. names: of all nodes and inputs that can be visited.
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

        `inputs`: the flattened inputs, in the program's order.
        """
        nodes = frozenset(nodes)
        self._check_names(nodes if until is None else {*nodes, until})
        values = [self.start(state, inputs) for state in states]
        for name, slot in self.inputs:
            if visit is not None and name in nodes:
                _replace(values, slot, name, visit)
            if name == until:
                return []
        forgotten: Sequence[int] = ()
        for step in self.steps:
            for own in values:
                args: Sequence[Any] = step.args
                kwargs = step.kwargs
                if step.nested:
                    args, kwargs = fill(args, own), fill(kwargs, own)
                elif step.holes:
                    args = list(args)
                    for position, slot in step.holes:
                        args[position] = own[slot]
                own[step.out] = step.target(*args, **kwargs)
            args = ()
            # One step late, as a network's own local variables live on too: freeing at once lets
            # the heap shrink and grow at every step.
            for slot in forgotten:
                for own in values:
                    own[slot] = None
            forgotten = step.dead
            if visit is not None and step.name in nodes:
                _replace(values, step.out, step.name, visit)
            if step.name == until:
                return []
        return [pytree.tree_unflatten(fill(self.outputs, own), self.out_spec) for own in values]

    def _check_names(self, nodes: Collection[str]) -> None:
        if missing := set(nodes) - self.names:
            raise TraceError(
                f"The traced graph has no node '{min(missing)}'; use the node names of a spec found"
                " from the same trace."
            )

    def start(self, state: Mapping[str, Tensor], inputs: Sequence[Any]) -> list[Any]:
        """The slots of one member before the first step: inputs, parameters, buffers and constants
        are there.
        """
        own: list[Any] = [None] * self.slots
        for (_, slot), value in zip(self.inputs, inputs, strict=True):
            own[slot] = value
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
            own[slot] = value
        for slot, value in self.constants:
            own[slot] = (
                value.to(device) if isinstance(value, Tensor) and device is not None else value
            )
        for slot in self.changed:
            own[slot] = own[slot].clone()
        for slot in self.unused:
            own[slot] = None
        return own


def _replace(values: list[list[Any]], slot: int, name: str, visit: Visit) -> None:
    changed = visit(name, [own[slot] for own in values])
    if changed is None:
        return
    if len(changed) != len(values):
        raise TraceError(
            f"The visitor of node '{name}' returned {len(changed)} values for {len(values)}"
            " members; return one for each."
        )
    for own, value in zip(values, changed, strict=True):
        own[slot] = value


def fill(value: Any, own: list[Any]) -> Any:
    """The nested argument with slots replaced by their values."""
    if isinstance(value, _Slot):
        return own[value.index]
    if isinstance(value, tuple | list):
        return [fill(x, own) for x in value]
    if isinstance(value, dict):
        return {key: fill(x, own) for key, x in value.items()}
    return value


def compile_plan(program: ExportedProgram) -> Plan:
    """The plan of an exported program.

    Checks of input metadata that export adds are left out: another dtype is welcome.
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
    specs = {
        spec.arg.name: spec
        for spec in program.graph_signature.input_specs
        if hasattr(spec.arg, "name")
    }
    plan = Plan(slots=len(nodes), out_spec=program.call_spec.out_spec)
    unused = []
    for node in nodes:
        if node.op == "placeholder":
            _add_input(plan, program, specs[node.name], node, slot[node])
            if node not in last:
                unused.append(slot[node])
        elif node.op == "get_attr":
            plan.constants.append(
                (slot[node], operator.attrgetter(str(node.target))(program.graph_module))
            )
        elif node.op == "output":
            kinds = [spec.kind for spec in program.graph_signature.output_specs]
            plan.outputs = [
                _template(v, slot)
                for v, kind in zip(node.args[0], kinds, strict=True)
                if kind == OutputKind.USER_OUTPUT
            ]
        else:
            own_dead = dead.get(node, []) + (
                [slot[node]] if node not in last and not node.users else []
            )
            plan.steps.append(_step(node, slot, tuple(own_dead)))
    plan.names = frozenset([step.name for step in plan.steps] + [name for name, _ in plan.inputs])
    plan.changed = frozenset(
        slot[root]
        for root in memory_of(nodes)[1].values()
        if root.op in ("placeholder", "get_attr")
    )
    plan.unused = frozenset(unused) - plan.changed - {s for name, s in plan.inputs}
    return plan


def _add_input(plan: Plan, program: ExportedProgram, spec: Any, node: fx.Node, slot: int) -> None:
    if spec.kind == InputKind.USER_INPUT:
        plan.inputs.append((node.name, slot))
    elif spec.kind in _STATE:
        optional = spec.kind == InputKind.BUFFER and spec.persistent is False
        fallback = (
            program.constants.get(spec.target, program.state_dict.get(spec.target))
            if optional
            else None
        )
        plan.states.append((slot, spec.target, torch.Size(node.meta["val"].shape), fallback))
    else:
        plan.constants.append((slot, program.constants[spec.target]))


def _step(node: fx.Node, slot: dict[fx.Node, int], dead: tuple[int, ...]) -> Step:
    args = tuple(_template(arg, slot) for arg in node.args)
    kwargs = {key: _template(value, slot) for key, value in node.kwargs.items()}
    deep = any(
        _holds_slot(value)
        for value in (*(a for a in args if not isinstance(a, _Slot)), *kwargs.values())
    )
    holes = tuple((k, arg.index) for k, arg in enumerate(args) if isinstance(arg, _Slot))
    target = node.target
    assert callable(target)
    return Step(node.name, target, args, kwargs, holes, deep, slot[node], dead)


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
    return (
        node.op == "call_function"
        and not node.users
        and (name.startswith(("_assert", "sym_constrain", "assert")))
    )


def memory_of(nodes: Sequence[fx.Node]) -> tuple[dict[fx.Node, fx.Node], dict[fx.Node, fx.Node]]:
    """Which node made the memory that each node's value lies in, found through views; and of the
    nodes that write, whose memory they write to.
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
