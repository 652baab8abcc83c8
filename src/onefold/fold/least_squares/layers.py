"""Sites: the layers that are solved together, and the value they are solved towards.

A layer's target is its own output, with its norm. If that output feeds a sum alone, the target is
the sum, less what the folded network itself gives as the other operand. So each block corrects the
drift of the stream. If both operands are layers that are not solved yet (the last convolution of a
block and its projected shortcut), they are solved together towards the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, fx

from onefold.errors import TraceError
from onefold.fold.least_squares.rows import Geometry, geometry_of
from onefold.layers import Layer
from onefold.symmetry.exporting import shape_of
from onefold.symmetry.rules.call import operator_name
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.tracing import TracedNetwork

# Operators that change nothing in eval mode.
PASSED = ("dropout", "feature_dropout", "clone", "contiguous", "alias", "detach")
POINTWISE = (
    "relu",
    "leaky_relu",
    "gelu",
    "silu",
    "elu",
    "tanh",
    "sigmoid",
    "hardswish",
    "mish",
    "relu6",
    "softplus",
)


@dataclass(frozen=True)
class Site:
    """Layers that are solved at once: one, or two that feed one sum.

    Attributes:
        layers: the layers.
        geometries: how each of them reads its input.
        target: the node whose value is the target.
        axis: the axis of the target's channels.
        shape: the target's shape in the trace.
        minus: a node whose value is taken from the target first; None for nothing.
        activation: the pointwise function through which alone the target is read; None if there is
            none.
    """

    layers: tuple[Layer, ...]
    geometries: tuple[Geometry, ...]
    target: str
    axis: int
    shape: tuple[int, ...]
    minus: str | None = None
    activation: fx.Node | None = None

    @property
    def name(self) -> str:
        """The names of the layers' weights."""
        return " + ".join(layer.weight for layer in self.layers)


def find_sites(
    traced: TracedNetwork, spec: SymmetrySpec, state: Mapping[str, Tensor]
) -> tuple[list[Site], dict[str, str]]:
    """Sites in the order in which they are solved.

    Args:
        traced: the traced network.
        spec: its symmetries.
        state: a state dict, read for dtypes.

    Returns:
        The sites, and weight name -> reason for every layer that is not solved.
    """
    nodes = {node.name: node for node in traced.graph.nodes}
    order = {name: k for k, name in enumerate(nodes)}
    tied = {name for names in spec.tied for name in names}
    features = {node.name for node in traced.graph.nodes if node.op == "call_function"}
    features |= _inputs(traced)
    unsolved: dict[str, str] = {}
    free: dict[str, tuple[Layer, Geometry]] = {}  # output node -> layer
    for layer in spec.layers:
        geometry = geometry_of(layer, nodes[layer.node])
        if layer.shared or layer.weight in tied:
            unsolved[layer.weight] = "its weight is used more than once"
        elif layer.source not in features:
            unsolved[layer.weight] = "what it reads is no feature"
        elif geometry is None:
            unsolved[layer.weight] = "a padding or shape that is not unfolded"
        elif not state[layer.weight].is_floating_point():
            unsolved[layer.weight] = "no floating-point weight"
        else:
            free[layer.output] = (layer, geometry)
    sites: list[Site] = []
    while free:
        output = min(free, key=lambda name: order[free[name][0].node])
        layer, geometry = free.pop(output)
        site = Site(
            (layer,),
            (geometry,),
            output,
            layer.output_axis,
            tuple(shape_of(nodes[output].meta["val"])),
            None,
            _activation(nodes[output]),
        )
        sites.append(_at_sum(site, nodes, order, free))
    return sites, unsolved


def _at_sum(
    site: Site,
    nodes: Mapping[str, fx.Node],
    order: Mapping[str, int],
    free: dict[str, tuple[Layer, Geometry]],
) -> Site:
    """The site with the sum as its target that its output alone feeds.

    The site stays as it is if its output feeds no such sum, or if the rest of the sum is neither
    known nor solved together with it.
    """
    found = _sum_of(nodes[site.target])
    if found is None:
        return site
    total, other = found
    own = site.layers[0]
    if order[other.name] < order[own.node]:
        return Site(
            site.layers,
            site.geometries,
            total.name,
            site.axis,
            site.shape,
            other.name,
            _activation(total),
        )
    beside = free.get(_behind(other).name)
    if (
        beside is None
        or own.groups > 1
        or beside[0].groups > 1
        or order[beside[0].source] > order[own.node]
    ):
        return site
    if len(_behind(other).users) > 1 or beside[0].output_axis != site.axis:
        return site
    layer, geometry = free.pop(beside[0].output)
    if geometry.example != site.geometries[0].example:
        free[layer.output] = (layer, geometry)
        return site
    return Site(
        (own, layer),
        (*site.geometries, geometry),
        total.name,
        site.axis,
        site.shape,
        None,
        _activation(total),
    )


def _sum_of(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The sum that the node alone feeds, and the sum's other operand, of the same shape.

    Operators that pass values on may lie in between.
    """
    shape = shape_of(node.meta["val"])
    while len(node.users) == 1:
        (user,) = node.users
        if operator_name(user) in PASSED:
            node = user
            continue
        operands = [x for x in user.args if isinstance(x, fx.Node)]
        plain = (
            operator_name(user) == "add"
            and len(user.args) == 2 == len(operands)
            and user.kwargs.get("alpha", 1) == 1
        )
        if not plain or operands[0] is operands[1]:
            return None
        other = operands[0] if operands[1] is node else operands[1]
        value = other.meta["val"]
        same = (
            isinstance(value, Tensor)
            and shape_of(value) == shape == shape_of(user.meta["val"])
            and other.op != "get_attr"
        )
        return (user, other) if same else None
    return None


def _behind(node: fx.Node) -> fx.Node:
    """The node whose value this one passes on."""
    while (
        operator_name(node) in PASSED
        and isinstance(node.args[0], fx.Node)
        and len(node.args[0].users) == 1
    ):
        node = node.args[0]
    return node


def _activation(node: fx.Node) -> fx.Node | None:
    """The pointwise function that alone reads the node, if there is one.

    Operators that pass values on may lie in between.
    """
    users = list(node.users)
    while len(users) == 1 and operator_name(users[0]) in PASSED:
        users = list(users[0].users)
    if (
        len(users) >= 1
        and operator_name(users[0]) in POINTWISE
        and (len(users) == 1 or str(users[0].target).endswith("_.default"))
    ):
        return users[0]
    return None


def activated(site: Site, rows: Tensor) -> Tensor:
    """Rows of the target behind its activation."""
    if site.activation is None:
        return rows
    if not callable(site.activation.target):
        raise TraceError(
            f"The node {site.activation.name} is no function; trace the network again."
        )
    result: Tensor = site.activation.target(
        rows.clone(), *site.activation.args[1:], **site.activation.kwargs
    )
    return result


def _inputs(traced: TracedNetwork) -> set[str]:
    return {
        node.name
        for node in traced.graph.nodes
        if node.op == "placeholder" and node.name not in traced.state_names
    }
