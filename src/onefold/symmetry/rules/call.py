"""What an operator rule is given: one call in the traced graph, with the axis terms of its inputs,
and where to note what it finds.
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
# Roles of tensors that stand for coordinates one by one: scales and signs do not act on them as on
# features.
INVARIANT = ("depthwise", "scale", "variance")


@dataclass(frozen=True)
class Use:
    """A tensor of the state dict takes part in the call `node` as `role`: on its own axis number
    `axis`, or (None) wherever it holds `term`.
    """

    node: fx.Node
    tensor: str
    axis: int | None
    term: Term
    role: str


@dataclass(frozen=True)
class LayerSite:
    """A linear or convolutional layer met in the graph."""

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
    """A batch norm with running statistics met in the graph; it reads `source`."""

    node: fx.Node
    source: fx.Node
    scale: str | None
    shift: str | None
    mean: str
    variance: str
    eps: float


@dataclass(frozen=True)
class ScaleSite:
    """A parameter of one axis (`term`) that multiplies features coordinate by coordinate, and one
    that is added behind it; `node`: the result.
    """

    node: fx.Node
    scale: str
    shift: str | None
    term: Term


@dataclass
class Facts:
    """All that the rules find on one walk through the graph.

    axes: the terms of every node (a list of such lists for operators with several outputs, None for
    what is no tensor). origin: node -> the state-dict name it shows, for state inputs and what only
    reshapes them. mixes: (kept, mixed) terms, see Call.mix. duals: (node, x, y, term) where two
    features x and y are multiplied and summed over `term`. hints: views to split on a restart.
    kinds: node -> "pre" or "post", see Probe.
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
    epsilons: dict[str, float] = field(default_factory=dict)  # running variance -> eps of its norm
    made: list[tuple[fx.Node, Term]] = field(
        default_factory=list
    )  # features that a layer makes, its weight computed or not
    read: list[tuple[fx.Node, Term]] = field(default_factory=list)  # likewise, that it reads


class Call:
    """One operator call.

    Arguments are read by their names in the operator's schema, defaults included: `call["groups"]`.
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
                self.arguments[argument.name] = (
                    argument.default_value if argument.has_default_value() else None
                )

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The argument of that name, or `default` where the operator has none."""
        return self.arguments.get(name, default)

    def first(self, *names: str) -> Any:
        """The first of these arguments that the operator has (operators of one family name their
        input differently).
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
        """The shape of an input, or of the output where none is given."""
        return shape_of((self.node if value is None else value).meta["val"])

    def shapes(self) -> list[list[int]]:
        """The shapes of all outputs of an operator with several."""
        return [shape_of(v) for v in self.node.meta["val"] if isinstance(v, Tensor)]

    def use(self, value: Any, axis: int, role: str) -> None:
        """Note that axis `axis` of an input plays `role` (see spec.ROLES), if that input comes from
        the state dict.
        """
        if not isinstance(value, fx.Node):
            return
        term = self.facts.axes[value][axis]
        if value not in self.facts.origin:
            if (
                role in INVARIANT
            ):  # computed from weights: what moves them to keep it unchanged is not known
                terms.restrict(term, terms.PERMUTATION)
            return
        own = axis % len(self.facts.axes[value]) if value in self.facts.direct else None
        self.facts.uses.append(Use(self.node, self.facts.origin[value], own, term, role))

    def state_name(self, value: Any) -> str | None:
        """The state-dict name of an input that is a parameter or buffer itself."""
        return self.facts.direct.get(value) if isinstance(value, fx.Node) else None

    def shows(self, value: fx.Node) -> None:
        """Note that the output is the same data as an input, reshaped: a parameter keeps its name
        through it.
        """
        if value in self.facts.origin:
            self.facts.origin[self.node] = self.facts.origin[value]

    def scaled(self, scale: Any, shift: Any, term: Term) -> None:
        """Note that the output is scaled along `term` by a parameter, and shifted by another (or
        None).
        """
        name, other = self.state_name(scale), self.state_name(shift)
        if name is not None and (shift is None or other is not None):
            self.facts.scales.append(ScaleSite(self.node, name, other, term))

    def between(self, read: Term | None, made: Term) -> None:
        """Note what features a layer reads (None: no features) and makes; where its weight comes
        from the state, `use` says so too.
        """
        self.facts.made.append((self.node, made))
        if read is not None:
            self.facts.read.append((self.node, read))

    def normalises(self, variance: str, eps: float) -> bool:
        """Note the eps that a norm adds to a running variance; False where another norm adds
        another one.
        """
        return self.facts.epsilons.setdefault(variance, eps) == eps

    def mix(self, mixed: Term, kept: Sequence[Term]) -> None:
        """Note that the operator mixes along `mixed`: maps of what it keeps may then not differ
        along it.
        """
        self.facts.mixes.extend((term, mixed) for term in kept)

    def kind(self, kind: str) -> None:
        """Note that the output is a good place to read features: "pre" or "post" (see spec.Probe)."""
        self.facts.kinds[self.node.name] = kind

    def pick(self, axes: Axes, axis: int, index: int) -> Axes:
        """The axes that remain where axis `axis` is fixed at `index`.

        Where that axis came out of a view, the solver starts again with it as the index of cases,
        so that each index may get its own terms: a stacked q, k, v that is unbound.
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
    """The name that rules are filed under: "conv2d" for aten.conv2d.default, "relu" for
    aten.relu_.default.
    """
    schema = getattr(node.target, "_schema", None)
    name = (
        str(schema.name).split("::")[-1]
        if schema is not None
        else getattr(node.target, "__name__", str(node.target))
    )
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name
