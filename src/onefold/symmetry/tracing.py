"""A network and example inputs traced to a graph of whole operators (linear, conv2d, ...).

The graph is that of torch.export (see exporting.py). In-place operators need no special care in the
solver: an operator that writes to a view leaves the terms of the view's axes as they were, and so
those of its base.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from onefold.arguments import checked
from onefold.batches import Batch, batches
from onefold.copying import copied_to_run, ordinary
from onefold.errors import DataError, TraceError
from onefold.forward import forward, not_in_table
from onefold.isolation import isolated
from onefold.progress import waiting
from onefold.symmetry.exporting import doubled, evaluating, export, shape_of
from onefold.symmetry.fingerprint import fingerprint
from onefold.symmetry.replay import Plan, Visit, compile_plan
from onefold.symmetry.sizes import Cover, Sizes, renamed_to_match

_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


@dataclass
class TracedNetwork:
    """A traced network, and a way to run it for several members.

    Attributes:
        model: the network itself.
        program: the exported program, whose `graph` the solver reads.
        state_names: placeholder -> state-dict name.
        parameters: name of a parameter -> number of its elements.
        tied: groups of state-dict names that share one tensor; slots name the first of each.
        fingerprint: see SymmetrySpec.
        keywords: names of the inputs that are passed as keywords.
        plans: traces and plans for inputs of other sizes; None before the first run.
    """

    model: nn.Module
    program: ExportedProgram
    state_names: dict[str, str]
    parameters: dict[str, int]
    tied: tuple[tuple[str, ...], ...]
    fingerprint: str
    keywords: tuple[str, ...] = ()
    plans: Sizes | None = field(default=None, repr=False)

    @property
    def graph(self) -> fx.Graph:
        """The operators in execution order; `node.meta["val"]` holds shapes and dtypes."""
        graph: fx.Graph = self.program.graph
        return graph

    def replay(
        self,
        states: Sequence[Mapping[str, Tensor]],
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None = None,
        visit: Visit | None = None,
        nodes: Collection[str] = (),
        until: str | None = None,
    ) -> list[Any]:
        """Run the network once with each state dict, node by node in lockstep.

        It runs in eval mode and without gradients.

        Args:
            states: one state dict for each member, all on one device, of any floating dtype (the
                inputs of the same).
            args: positional inputs, as of the traced network but of any batch size; they are the
                same for all members.
            kwargs: keyword inputs, likewise.
            visit: called as visit(name, [value of member 0, ...]) after the node `name` has run for
                all members. If it returns a list, the run goes on with those values. Values are
                only valid during the call: a later node may change them in place.
            nodes: names of the nodes (or of inputs) to visit.
            until: stop after this node, and return an empty list.

        Returns:
            The network's output for each member.

        Raises:
            TraceError: a named node does not exist, or another batch size cannot be traced or leads
                to another graph.
            MembersError: a state dict lacks a tensor or holds one of another shape.
            DataError: a number of the inputs has no row in the network's embedding.
        """
        with torch.no_grad():
            plan, inputs = self.plan_for(args, kwargs)
            try:
                return plan.run(states, inputs, visit, nodes, until)
            except IndexError as error:
                batch = Batch(tuple(args), dict(kwargs or {}))
                if wrong := not_in_table(self.model, batch):
                    what = f"{type(self.model).__name__} cannot run on one of the batches"
                    raise DataError(f"{what}: {wrong}") from error
                raise

    def plan_for(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> tuple[Plan, list[Any]]:
        """The plan that runs on these inputs, and the inputs flattened in its order.

        Raises:
            TraceError: as `replay`.
        """
        keywords = dict(kwargs or {})
        if set(keywords) != set(self.keywords):
            raise TraceError(
                f"The network was traced with keywords {list(self.keywords)}, but was given"
                f" {sorted(keywords)}; pass the same ones."
            )
        keywords = {name: keywords[name] for name in self.keywords}
        inputs = pytree.tree_leaves((tuple(args), keywords), is_leaf=lambda x: x is None)
        return self._plan(tuple(args), keywords, inputs), inputs

    @cached_property
    def example_axis(self) -> int | None:
        """The axis of the first input that counts examples, by the shape of the network's output.

        None if the output does not tell. Recurrent layers tell it themselves: (time, examples,
        features), unless `batch_first`.
        """
        return _example_axis(self.program)

    def counted(self, batch: Batch) -> Batch:
        """The batch with the axis that counts its examples."""
        return batch if self.example_axis is None else replace(batch, axis=self.example_axis)

    def _plan(self, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[Any]) -> Plan:
        """The plan for inputs of these shapes.

        The network is traced again if no trace covers them.
        """
        if self.plans is None:
            cover = Cover.of(self.program, self.model, compile_plan(self.program))
            first = [shape_of(x) if isinstance(x, Tensor) else None for x in cover.inputs]
            self.plans = Sizes([cover], first)
        sizes = self.plans
        if len(sizes.first) != len(inputs):
            raise TraceError(
                f"The network was traced with {len(sizes.first)} inputs, but was given"
                f" {len(inputs)}; pass the same kind of batch."
            )
        if (found := sizes.plan(args, kwargs, inputs)) is not None:
            return found
        if axes := sizes.to_try(inputs):
            with suppress(TraceError):
                wide = self._matched(export(self.model, args, kwargs, dynamic=True, axes=axes))
                if wide is not None and wide.accepts(args, kwargs, inputs):
                    sizes.covers.append(wide)
                    return wide.plan
        single = self._matched(self._exported(args, kwargs))
        if single is None:
            shapes = ", ".join(str(tuple(x.shape)) for x in inputs if isinstance(x, Tensor))
            raise TraceError(
                f"{type(self.model).__name__} runs other operators on inputs of shape {shapes} than"
                " on those that it was traced with; use inputs and batches of one size."
            )
        return sizes.keep(inputs, single.plan)

    def _matched(self, program: ExportedProgram) -> Cover | None:
        """Another trace of the network, by the names of this one; None if operators differ."""
        if not renamed_to_match(program, self.program):
            return None
        return Cover.of(program, self.model, compile_plan(program))

    def _exported(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
        """The network traced on inputs of one shape.

        Raises:
            DataError: it cannot run on them.
            TraceError: torch.export cannot trace it.
        """
        try:
            return export(self.model, args, kwargs, dynamic=False)
        except TraceError:
            with evaluating(self.model), torch.no_grad():
                forward(self.model, Batch(args, kwargs))
            raise


@checked
@isolated
@waiting("Tracing the network")
def trace(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    axes: Collection[tuple[int, int]] = (),
) -> TracedNetwork:
    """Trace `model(*args, **kwargs)` in eval mode without gradients.

    The first axis of every input tensor is traced as dynamic if the network allows it, so that a
    replay takes any batch size.

    Args:
        model: the network, also on the meta device; it is left as it was. One that
            torch.inference_mode() made is copied.
        args: positional inputs.
        kwargs: keyword inputs.
        axes: (number of the input, axis) of further axes that are dynamic if the network allows it.

    Raises:
        DataError: the inputs' dtype is not the network's, or it cannot run on them at all.
        TraceError: the network runs, but torch.export cannot trace it.
    """
    args, kwargs, model = tuple(args), dict(kwargs or {}), ordinary(model)
    program: ExportedProgram | None = None
    open_batches = [*doubled(args, kwargs), (args, kwargs, True)]
    attempts = [(one, axes) for one in open_batches if axes]
    attempts += [(one, ()) for one in (*open_batches, (args, kwargs, False))]
    for (attempt_args, attempt_kwargs, dynamic), opened in attempts:
        try:
            program = export(model, attempt_args, attempt_kwargs, dynamic, opened)
            break
        except TraceError as error:
            failure = error
    if program is None:
        with torch.no_grad():  # raises DataError if the inputs are to blame
            forward(copied_to_run(model), Batch(args, kwargs))
        raise failure
    state_names = {
        spec.arg.name: str(spec.target)
        for spec in program.graph_signature.input_specs
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER)
    }
    parameters = {name: p.numel() for name, p in model.named_parameters()}
    return TracedNetwork(
        model, program, state_names, parameters, _tied(model), fingerprint(program), tuple(kwargs)
    )


def example_batch(example_inputs: Any) -> Batch:
    """Example inputs as one Batch.

    A pair is always (inputs, labels); for two positional inputs pass ((a, b), None).

    Args:
        example_inputs: a tensor, a pair (inputs, labels), a dict for keyword networks, or a Batch.
    """
    if isinstance(example_inputs, Batch):
        return example_inputs
    return next(iter(batches([example_inputs], what="example inputs")))


def _example_axis(program: ExportedProgram) -> int | None:
    names = {node.name: node for node in program.graph.nodes}
    specs = program.graph_signature.input_specs
    given = [names[s.arg.name].meta.get("val") for s in specs if s.kind == InputKind.USER_INPUT]
    first = next((x for x in given if isinstance(x, Tensor)), None)
    if first is None or not first.dim():
        return None
    sizes = [_size(n) for n in first.shape]
    for node in program.graph.nodes:
        if str(node.target).split(".")[0:2][-1] in _RECURRENT and node.args[-1] is False:
            read = node.args[0].meta["val"]
            if read.dim() == 3 and sizes[1:2] == [_size(read.shape[1])]:
                return 1
    output = next(node for node in program.graph.nodes if node.op == "output")
    leaves = pytree.tree_leaves(output.args[0])
    values = [leaf.meta.get("val") for leaf in leaves if isinstance(leaf, fx.Node)]
    counts = [_size(x.shape[0]) for x in values if isinstance(x, Tensor) and x.dim()]
    if sizes[0] in counts:
        return 0
    return next((sizes.index(n) for n in counts if n in sizes), None)


def _size(length: Any) -> Any:
    return length.node.expr if isinstance(length, torch.SymInt) else int(length)


def _tied(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Groups of names of one and the same tensor, by storage and offset.

    A data pointer says nothing on the meta device.
    """
    names: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in (
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ):
        if tensor.layout == torch.strided and tensor.numel():
            storage = tensor.untyped_storage()._cdata
            key = (storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
            names.setdefault(key, []).append(name)
    return tuple(tuple(group) for group in names.values() if len(group) > 1)
