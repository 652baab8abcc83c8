"""What is solved together, and towards what: read from the traced graph.

A layer's target is its own output (with its norm), unless that goes nowhere but into a sum. Then it
is the sum, less what the folded network itself gives as the other operand, so that each block
corrects the drift of the stream. Where both operands are layers that are not solved yet (the last
convolution of a block and its projected shortcut), they are solved together towards the sum.
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

PASSED = (
    "dropout",
    "feature_dropout",
    "clone",
    "contiguous",
    "alias",
    "detach",
)  # what changes nothing in eval mode
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
    """Layers (one, or two that feed one sum) solved at once towards the value of the node `target`,
    less that of `minus`.

    activation: the pointwise function through which alone the target is read, if there is one;
    outputs: whether the target's channels are in no group, as logits are.
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
        return " + ".join(layer.weight for layer in self.layers)


def find_sites(
    traced: TracedNetwork, spec: SymmetrySpec, state: Mapping[str, Tensor]
) -> tuple[list[Site], dict[str, str]]:
    """The sites in the order in which they are solved, and the names of the layers' weights that
    are not solved, with the reason.
    """
    nodes = {node.name: node for node in traced.graph.nodes}
    order = {name: k for k, name in enumerate(nodes)}
    tied = {name for names in spec.tied for name in names}
    runs = {node.name for node in traced.graph.nodes if node.op == "call_function"} | _inputs(
        traced
    )
    kept: dict[str, str] = {}
    free: dict[str, tuple[Layer, Geometry]] = {}  # output node -> layer
    for layer in spec.layers:
        geometry = geometry_of(layer, nodes[layer.node])
        reason = (
            "its weight is used more than once"
            if layer.shared or layer.weight in tied
            else (
                "what it reads is no feature"
                if layer.source not in runs
                else (
                    "a padding or shape that is not unfolded"
                    if geometry is None
                    else (
                        "no floating-point weight"
                        if not state[layer.weight].is_floating_point()
                        else ""
                    )
                )
            )
        )
        if reason or geometry is None:
            kept[layer.weight] = reason
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
    return sites, kept


def _at_sum(
    site: Site,
    nodes: Mapping[str, fx.Node],
    order: Mapping[str, int],
    free: dict[str, tuple[Layer, Geometry]],
) -> Site:
    """The site aimed at the sum that its output alone feeds, if it feeds one and the rest of the
    sum is known or solved along with it.
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
    """The sum that the node alone feeds (through nothing but what passes values on), and its other
    operand, of the same shape.
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
    """The pointwise function that alone reads the node, through what passes values on."""
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
    """Rows of the target as those that read it see them."""
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
