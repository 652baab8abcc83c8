"""A network and example inputs to a graph of whole operators (linear, conv2d, batch_norm...), by
torch.export.

The graph is kept undecomposed and not functionalised: it makes the very calls that the network
makes, so that a replay gives the same bits, takes the same time and accepts any memory format.
In-place operators need no special care in the solver, since an operator that writes to a view
leaves the terms of the view's axes, and so those of its base, as they were.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from onefold.batches import Batch, batches, forward
from onefold.errors import TraceError
from onefold.symmetry.replay import Plan, Visit, compile_plan
from onefold.symmetry.sizes import Cover, Sizes, is_slice, read_by, renamed_to_match, tidy

# Arguments that hold sizes, which may depend on those of the inputs: they are no part of a
# fingerprint.
_SIZES = frozenset(
    (
        *("size", "shape", "sizes", "split_size", "repeats", "start", "end", "step", "length"),
        *("output_size", "kernel_size", "pad", "scale_factors", "scales_d", "scales_h", "scales_w"),
    )
)
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_NUMBERS = frozenset(["index", "other"])  # no part of one either, where they are numbers


@dataclass
class TracedNetwork:
    """A traced network: the graph, which of its inputs are which entries of the state dict, and a
    way to run it for several members.

    program: the exported program, whose `graph` the solver reads. state_names: placeholder ->
    state-dict name. tied: groups of state-dict names that share one tensor, the first of each being
    the one that slots name. fingerprint: see SymmetrySpec.
    """

    model: nn.Module
    program: ExportedProgram
    state_names: dict[str, str]
    parameters: dict[str, int]
    tied: tuple[tuple[str, ...], ...]
    fingerprint: str
    keywords: tuple[str, ...] = ()
    _sizes: Sizes | None = field(default=None, repr=False)

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
        """Run the network once with each state dict, node by node in lockstep, in eval mode and
        without gradients.

        Args:
            states: one state dict for each member, all on one device, of any floating dtype (the
                inputs of the same).
            args, kwargs: the inputs, as of the traced network but of any batch size; they are the
                same for all members.
            visit: called as visit(name, [value of member 0, ...]) after the node `name` has run for
                all members. If it returns a list, the run goes on with those values. Values are
                only valid during the call: a later node may change them in place.
            nodes: the names of the nodes (or of inputs) to visit.
            until: stop after this node, and return an empty list.

        Returns: what the network returns, for each member.

        Raises:
            TraceError: a named node does not exist, or another batch size cannot be traced or leads
                to another graph.
            MembersError: a state dict lacks a tensor or holds one of another shape.
        """
        with torch.no_grad():
            plan, inputs = self.plan_for(args, kwargs)
            return plan.run(states, inputs, visit, nodes, until)

    def plan_for(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> tuple[Plan, list[Any]]:
        """The plan that runs on these inputs, and the inputs flattened in its order.

        Raises TraceError as `replay`.
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
        """Which axis of the first input counts examples, by what the network returns; None where
        that does not tell.

        Recurrent layers say it themselves: (time, examples, features), unless `batch_first`.
        """
        return _example_axis(self.program)

    def counted(self, batch: Batch) -> Batch:
        """The batch with the axis that counts its examples."""
        return batch if self.example_axis is None else replace(batch, axis=self.example_axis)

    def _plan(self, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[Any]) -> Plan:
        """The plan for inputs of these shapes.

        The network is traced again where no trace covers them.
        """
        if self._sizes is None:
            cover = Cover.of(self.program, self.model, compile_plan(self.program))
            first = [shape_of(x) if isinstance(x, Tensor) else None for x in cover.inputs]
            self._sizes = Sizes([cover], first)
        sizes = self._sizes
        if len(sizes.first) != len(inputs):
            raise TraceError(
                f"The network was traced with {len(sizes.first)} inputs, but was given"
                f" {len(inputs)}; pass the same kind of batch."
            )
        if (found := sizes.plan(args, kwargs, inputs)) is not None:
            return found
        if axes := sizes.to_try(inputs):
            with suppress(TraceError):
                wide = self._matched(_export(self.model, args, kwargs, dynamic=True, axes=axes))
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
        """Another trace of the network, by the names of this one; None where operators differ."""
        if not renamed_to_match(program, self.program):
            return None
        return Cover.of(program, self.model, compile_plan(program))

    def _exported(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
        """The network traced on inputs of one shape.

        Raises DataError where it cannot run on them.
        """
        try:
            return _export(self.model, args, kwargs, dynamic=False)
        except TraceError:
            with _evaluating(self.model), torch.no_grad():
                forward(self.model, Batch(args, kwargs))
            raise


def trace(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> TracedNetwork:
    """Trace `model(*args, **kwargs)` in eval mode without gradients; the model is left as it was.

    Works on the meta device.

    The first axis of every input tensor is traced as dynamic where the network allows it, so that a
    replay takes any batch size.

    Raises:
        TraceError: torch.export cannot trace the network.
    """
    args, kwargs = tuple(args), dict(kwargs or {})
    program: ExportedProgram | None = None
    for attempt_args, attempt_kwargs, dynamic in (
        *_doubled(args, kwargs),
        (args, kwargs, True),
        (args, kwargs, False),
    ):
        try:
            program = _export(model, attempt_args, attempt_kwargs, dynamic)
            break
        except TraceError as error:
            failure = error
    if program is None:
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
    """Example inputs as the rest of the library reads a batch: a tensor, a pair (inputs, labels),
    or a dict for keyword networks.

    A pair is always (inputs, labels); for two positional inputs pass ((a, b), None).
    """
    return (
        example_inputs
        if isinstance(example_inputs, Batch)
        else next(iter(batches([example_inputs], what="example inputs")))
    )


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
    values = [
        x.meta.get("val") for x in pytree.tree_leaves(output.args[0]) if isinstance(x, fx.Node)
    ]
    counts = [_size(x.shape[0]) for x in values if isinstance(x, Tensor) and x.dim()]
    if sizes[0] in counts:
        return 0
    return next((sizes.index(n) for n in counts if n in sizes), None)


def _size(length: Any) -> Any:
    return length.node.expr if isinstance(length, torch.SymInt) else int(length)


def shape_of(value: Tensor) -> list[int]:
    """The shape of a traced value, with the sizes of the example for dynamic axes."""
    return [int(d.node.hint) if isinstance(d, torch.SymInt) else int(d) for d in value.shape]


def fingerprint(program: ExportedProgram) -> str:
    """A hash of the operators, how they are connected, and the names and shapes of the parameters,
    without the batch size.
    """
    digest = hashlib.sha256()
    number: dict[fx.Node, int] = {}
    count = -1
    specs = {
        spec.arg.name: spec
        for spec in program.graph_signature.input_specs
        if hasattr(spec.arg, "name")
    }
    for node in program.graph.nodes:
        if node.op == "placeholder":
            spec = specs[node.name]
            shape = (
                shape_of(node.meta["val"])
                if spec.target is not None and isinstance(node.meta.get("val"), Tensor)
                else ()
            )
            text = f"{spec.kind.name} {spec.target} {shape}"
        elif is_slice(node) and read_by(node) in number:
            # A slice of a whole axis is left out by export, so that whether it is there depends on
            # sizes.
            number[node] = number[read_by(node)]
            continue
        elif isinstance(node.meta.get("val"), Tensor | tuple | list) or node.op == "output":
            names = (
                [argument.name for argument in node.target._schema.arguments]
                if hasattr(node.target, "_schema")
                else []
            )
            given = [
                (names[k] if k < len(names) else "", value) for k, value in enumerate(node.args)
            ]
            shown = [_shown(value, number) for name, value in given if not _is_size(name, value)]
            shown += [
                f"{key}={_shown(value, number)}"
                for key, value in node.kwargs.items()
                if not _is_size(key, value)
            ]
            text = f"{node.target} {' '.join(shown)}"
        else:
            continue
        number[node] = count = count + 1
        digest.update(f"{text}\n".encode())
    return digest.hexdigest()[:32]


def _is_size(name: str, value: Any) -> bool:
    """Whether an argument is left out of the fingerprint."""
    if name not in _NUMBERS:
        return name in _SIZES
    symbolic = isinstance(value, fx.Node) and not isinstance(
        value.meta.get("val"), Tensor | tuple | list
    )
    return symbolic or (isinstance(value, int | float) and not isinstance(value, bool))


def _shown(value: Any, number: dict[fx.Node, int]) -> str:
    if isinstance(value, fx.Node):
        return f"%{number[value]}" if value in number else "#"
    if isinstance(value, tuple | list):
        return "(" + ",".join(_shown(x, number) for x in value) + ")"
    return "" if isinstance(value, torch.device | torch.dtype) else repr(value)


def _export(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic: bool,
    axes: Collection[tuple[int, int]] = (),
) -> ExportedProgram:
    """The exported program. dynamic: of any length of the first axes, and of `axes` (input, axis)."""
    shapes: Any = ShapesCollection()  # type: ignore[no-untyped-call]
    # Export marks the open axes on the tensors that it is given, where a later export finds them.
    args, kwargs = pytree.tree_map_only(Tensor, lambda x: x.detach(), (args, kwargs))
    leaves = pytree.tree_leaves((args, kwargs), is_leaf=lambda x: x is None)
    for number, value in enumerate(leaves):
        if isinstance(value, Tensor) and value.dim():
            shapes[value] = dict.fromkeys([0, *(axis for k, axis in axes if k == number)], Dim.AUTO)
    try:
        with _evaluating(model), _quiet(), torch.no_grad():
            program = torch.export.export(
                model, args, kwargs, strict=False, dynamic_shapes=shapes if dynamic else None
            )
        tidy(program)
        return program
    # torch.export raises nearly anything, from inside the network and from inside torch
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = (
            f"{type(error).__name__}: {lines[0]}"[:300].rstrip(".")
            if lines
            else type(error).__name__
        )
        raise TraceError(
            f"torch.export cannot trace {type(model).__name__} ({cause}), so its symmetries are"
            ' unknown; plain averaging without alignment still works with align="none" (--align'
            " none)."
        ) from error


def _doubled(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], bool]]:
    """The inputs with every first axis of length 1 doubled, since export never takes an axis of
    length 1 for a dynamic one.
    """
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.dim()]
    if tensors and all(len(x) == 1 for x in tensors):
        double = pytree.tree_map_only(
            Tensor, lambda x: torch.cat([x, x]) if x.dim() else x, (args, kwargs)
        )
        yield double[0], double[1], True


def _tied(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Names of one and the same tensor, by storage and offset (a data pointer says nothing on the
    meta device).
    """
    names: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in (
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ):
        if tensor.layout == torch.strided and tensor.numel():
            key = (
                tensor.untyped_storage()._cdata,
                tensor.storage_offset(),
                tuple(tensor.shape),
                tensor.stride(),
            )
            names.setdefault(key, []).append(name)
    return tuple(tuple(group) for group in names.values() if len(group) > 1)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode for the time being; each flag is restored on its own."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.export without its warnings: what matters is raised, or found in the spec."""
    loggers = [
        logging.getLogger(name)
        for name in (
            "torch.export",
            "torch.fx",
            "torch._export",
            "torch._dynamo",
            "torch._subclasses",
        )
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
