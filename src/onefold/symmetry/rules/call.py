"""One call in the traced graph, as a rule gets it, and the facts that rules note.

A call gives the axis terms of its inputs and records what the rule finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx

from onefold.symmetry import terms
from onefold.symmetry.exporting import shape_of
from onefold.symmetry.terms import Atom, Term

Axes = list[Term]
# Roles of tensors whose entries belong to coordinates one by one: scales and signs do not act on
# them as on features.
INVARIANT = ("depthwise", "scale", "variance")


@dataclass(frozen=True)
class Use:
    """A tensor of the state dict takes part in a call.

    Attributes:
        node: the call.
        tensor: state-dict name.
        axis: axis of the tensor; None for every axis that holds `term`.
        term: term of the axis.
        role: one of axes.ROLES.
    """

    node: fx.Node
    tensor: str
    axis: int | None
    term: Term
    role: str


@dataclass(frozen=True)
class LayerSite:
    """A linear or convolutional layer met in the graph.

    Attributes:
        node: the call.
        kind: "linear", "conv" or "conv_transpose".
        weight: state-dict name of the weight.
        bias: state-dict name of the bias, or None.
        weight_axis: axis of the weight that holds output channels.
        source: node that the layer reads.
        output_axis: axis of the output that holds output channels.
        groups: groups of a grouped convolution.
    """

    node: fx.Node
    kind: str
    weight: str
    bias: str | None
    weight_axis: int
    source: fx.Node
    output_axis: int
    groups: int


@dataclass(frozen=True)
class NormSite:
    """A batch norm with running statistics met in the graph.

    Attributes:
        node: the call.
        source: node that it reads.
        scale: state-dict name of the scale, or None.
        shift: state-dict name of the shift, or None.
        mean: state-dict name of the running mean.
        variance: state-dict name of the running variance.
        eps: number that it adds to the variance.
    """

    node: fx.Node
    source: fx.Node
    scale: str | None
    shift: str | None
    mean: str
    variance: str
    eps: float


@dataclass(frozen=True)
class ScaleSite:
    """A parameter of one axis that multiplies features coordinate by coordinate.

    Attributes:
        node: node of the result.
        scale: state-dict name of the parameter.
        shift: state-dict name of a parameter that is added behind it, or None.
        term: term of the axis.
    """

    node: fx.Node
    scale: str
    shift: str | None
    term: Term


@dataclass
class Facts:
    """All that the rules find on one walk through the graph.

    Attributes:
        hints: (node name, axis) of views to split into cases, from earlier walks.
        axes: node -> terms of its axes; a list of such lists for an operator with several outputs,
            None for a value that is no tensor.
        origin: node -> state-dict name whose data it shows, for state inputs and what only reshapes
            them.
        direct: state input -> state-dict name.
        uses: uses of tensors of the state dict.
        mixes: (kept, mixed) terms, see `Call.mix`.
        duals: (node, x, y, term) of a call that multiplies two features x and y and sums over
            `term`.
        layers: layers met.
        norms: batch norms with running statistics met.
        scales: parameters that scale features.
        kinds: node name -> "pre" or "post", see Probe.
        wanted_hints: hints that rules ask for on this walk.
        unknown: operator -> number of calls without a rule.
        epsilons: running variance -> eps of its norm.
        made: (node, term) of features that a layer makes, also if its weight is computed.
        read: (node, term) of features that a layer reads, also if its weight is computed.
    """

    hints: frozenset[tuple[str, int]] = frozenset()
    axes: dict[fx.Node, Any] = field(default_factory=dict)
    origin: dict[fx.Node, str] = field(default_factory=dict)
    direct: dict[fx.Node, str] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    mixes: list[tuple[Term, Term]] = field(default_factory=list)
    duals: list[tuple[fx.Node, fx.Node, fx.Node, Term]] = field(default_factory=list)
    layers: list[LayerSite] = field(default_factory=list)
    norms: list[NormSite] = field(default_factory=list)
    scales: list[ScaleSite] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    wanted_hints: set[tuple[str, int]] = field(default_factory=set)
    unknown: dict[str, int] = field(default_factory=dict)
    epsilons: dict[str, float] = field(default_factory=dict)
    made: list[tuple[fx.Node, Term]] = field(default_factory=list)
    read: list[tuple[fx.Node, Term]] = field(default_factory=list)


class Call:
    """One operator call.

    Arguments are read by their names in the operator's schema, defaults included: `call["groups"]`.

    Attributes:
        node: node of the traced graph.
        facts: facts of the walk.
        name: name of the operator, as rules are registered.
        arguments: name -> argument.
    """

    def __init__(self, node: fx.Node, facts: Facts) -> None:
        self.node = node
        self.facts = facts
        self.name = operator_name(node)
        schema = getattr(node.target, "_schema", None)
        self.arguments: dict[str, Any] = {}
        for k, argument in enumerate(schema.arguments if schema is not None else ()):
            if k < len(node.args):
                self.arguments[argument.name] = node.args[k]
            elif argument.name in node.kwargs:
                self.arguments[argument.name] = node.kwargs[argument.name]
            else:
                default = argument.default_value if argument.has_default_value() else None
                self.arguments[argument.name] = default

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The argument of that name, or `default` if the operator has none."""
        return self.arguments.get(name, default)

    def first(self, *names: str) -> Any:
        """The first of these arguments that the operator has.

        Operators of one family name their input differently.
        """
        return next((self.arguments[name] for name in names if name in self.arguments), None)

    @property
    def input(self) -> fx.Node:
        """The main input: the first argument."""
        return self.node.args[0]  # type: ignore[return-value]

    def axes(self, value: fx.Node) -> Axes:
        """The terms of a tensor's axes, in order. The list may be changed freely."""
        return [terms.resolve(term) for term in self.facts.axes[value]]

    def is_tensor(self, value: Any) -> bool:
        """Whether an argument is a tensor of the graph."""
        return isinstance(value, fx.Node) and isinstance(value.meta.get("val"), Tensor)

    def shape(self, value: fx.Node | None = None) -> list[int]:
        """The shape of an input, or of the output if none is given."""
        return shape_of((self.node if value is None else value).meta["val"])

    def shapes(self) -> list[list[int]]:
        """The shapes of all outputs of an operator with several."""
        return [shape_of(v) for v in self.node.meta["val"] if isinstance(v, Tensor)]

    def use(self, value: Any, axis: int, role: str) -> None:
        """Note that axis `axis` of an input has a role, if that input comes from the state dict.

        Args:
            value: the input.
            axis: axis of the input.
            role: one of axes.ROLES.
        """
        if not isinstance(value, fx.Node):
            return
        term = self.facts.axes[value][axis]
        if value not in self.facts.origin:
            if role in INVARIANT:
                # computed from weights: how these must move for it to stay is not known
                terms.restrict(term, terms.PERMUTATION)
            return
        number = axis % len(self.facts.axes[value]) if value in self.facts.direct else None
        self.facts.uses.append(Use(self.node, self.facts.origin[value], number, term, role))

    def state_name(self, value: Any) -> str | None:
        """The state-dict name of an input that is a parameter or buffer itself."""
        return self.facts.direct.get(value) if isinstance(value, fx.Node) else None

    def shows(self, value: fx.Node) -> None:
        """Note that the output is the data of an input, reshaped.

        A parameter keeps its name through such a call.
        """
        if value in self.facts.origin:
            self.facts.origin[self.node] = self.facts.origin[value]

    def scaled(self, scale: Any, shift: Any, term: Term) -> None:
        """Note that a parameter scales the output along `term`, and another may shift it.

        Args:
            scale: the parameter that scales.
            shift: the parameter that is added behind it, or None.
            term: term of the scaled axis.
        """
        name, other = self.state_name(scale), self.state_name(shift)
        if name is not None and (shift is None or other is not None):
            self.facts.scales.append(ScaleSite(self.node, name, other, term))

    def between(self, read: Term | None, made: Term) -> None:
        """Note the features that a layer reads (None: no features) and makes.

        If its weight comes from the state, `use` notes them too.
        """
        self.facts.made.append((self.node, made))
        if read is not None:
            self.facts.read.append((self.node, read))

    def normalises(self, variance: str, eps: float) -> bool:
        """Note the eps that a norm adds to a running variance.

        Returns:
            False if another norm adds another eps to it.
        """
        return self.facts.epsilons.setdefault(variance, eps) == eps

    def mix(self, mixed: Term, kept: Sequence[Term]) -> None:
        """Note that the operator mixes along an axis.

        Args:
            mixed: term of that axis.
            kept: terms that pass; their maps may not differ along `mixed`.
        """
        self.facts.mixes.extend((term, mixed) for term in kept)

    def kind(self, kind: str) -> None:
        """Note that features can be read at the output.

        Args:
            kind: "pre" or "post", see axes.Probe.
        """
        self.facts.kinds[self.node.name] = kind

    def pick(self, axes: Axes, axis: int, index: int) -> Axes:
        """The axes that remain if axis `axis` is fixed at `index`.

        If a view made that axis, the solver starts again with it as the index of cases. Then each
        index may get its own terms: a stacked q, k, v that is unbound.
        """
        term = terms.resolve(axes[axis])
        rest = [t for k, t in enumerate(axes) if k != axis]
        if isinstance(term, Atom):
            known = term.frozen and term.reason != terms.SEGMENTS
            if term.origin is not None and not known and term.origin not in self.facts.hints:
                self.facts.wanted_hints.add(term.origin)
            terms.freeze(term, "selected by index")
            return [terms.substitute(t, term, index) for t in rest]
        terms.freeze(term, "selected by index")
        return rest


def operator_name(node: fx.Node) -> str:
    """The name that rules are registered under.

    It is "conv2d" for aten.conv2d.default and "relu" for aten.relu_.default.
    """
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        name = str(getattr(node.target, "__name__", node.target))
    else:
        name = str(schema.name).split("::")[-1]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name
