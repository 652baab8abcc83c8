"""The cost of a network as a function of its widths: multiply-adds, parameters, bytes.

A layer whose weight has axes of lengths n_1, n_2, ... and is used at P positions of an example
costs P n_1 n_2 ... multiply-adds. Every axis is a term over groups (`symmetry/axes.py`), so that
this is a polynomial in the groups' widths. What is no layer's (attention scores, for example) is
measured once on the whole network and stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from onefold.batches import Batch
from onefold.forward import forward
from onefold.symmetry import SymmetrySpec, TracedNetwork
from onefold.symmetry.axes import Axes, Fixed, Live, Prod, Sum, Term
from onefold.symmetry.exporting import shape_of
from onefold.symmetry.rules.call import operator_name

UNITS = ("multiply-adds", "parameters", "bytes")


@dataclass(frozen=True)
class Part:
    """What one tensor costs.

    Attributes:
        axes: the terms of its axes.
        positions: how often an example uses each of its elements.
        elements: 1 if its elements are parameters of their own, 0 if they are counted elsewhere.
        itemsize: bytes of one element.
    """

    axes: Axes
    positions: float
    elements: int
    itemsize: int


@dataclass(frozen=True)
class Costs:
    """What a network costs at any widths.

    Attributes:
        parts: one for each tensor.
        groups: group -> the parts that its width changes, by number.
        other: multiply-adds of an example that no width changes.
    """

    parts: tuple[Part, ...]
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    other: float = 0.0

    def total(self, unit: str, widths: Mapping[str, int] | None = None) -> float:
        """The cost of the whole network.

        Args:
            unit: one of UNITS.
            widths: group -> width; a group that is not named keeps its own.
        """
        own = sum(_cost(part, unit, widths or {}) for part in self.parts)
        return own + (self.other if unit == "multiply-adds" else 0.0)

    def saved(self, unit: str, widths: Mapping[str, int], group: str, width: int) -> float:
        """What is saved if one group is brought from its width in `widths` to another one."""
        changed = {**widths, group: width}
        return sum(
            _cost(self.parts[k], unit, widths) - _cost(self.parts[k], unit, changed)
            for k in self.groups.get(group, ())
        )


def costs_of(traced: TracedNetwork, spec: SymmetrySpec, batch: Batch | None = None) -> Costs:
    """The costs of a traced network.

    Args:
        traced: the traced network.
        spec: its symmetries.
        batch: one batch, on which multiply-adds beside those of layers are measured; None: they
            are left out.
    """
    tied = {name: names[0] for names in spec.tied for name in names}
    state = traced.model.state_dict()
    uses = _positions(traced)
    parts: list[Part] = []
    groups: dict[str, list[int]] = {}
    for name, tensor in state.items():
        first = tied.get(name, name)
        axes = spec.axes.get(first, tuple(Fixed("", size) for size in tensor.shape))
        learned = int(name in traced.parameters and name == first)
        positions = uses.get(name, 0.0) / _examples(traced)
        if not learned and not positions:
            continue
        for group in dict.fromkeys(_groups(axes)):
            groups.setdefault(group, []).append(len(parts))
        parts.append(Part(axes, positions, learned, tensor.element_size()))
    found = {group: tuple(numbers) for group, numbers in groups.items()}
    costs = Costs(tuple(parts), found)
    if batch is None:
        return costs
    rest = multiply_adds(traced.model, batch) - costs.total("multiply-adds")
    return Costs(costs.parts, costs.groups, max(0.0, rest))


def multiply_adds(model: nn.Module, batch: Batch) -> float:
    """The multiply-adds of one example, as torch counts them while the network runs.

    Source: `torch.utils.flop_counter`, which counts a product and a sum as two.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            forward(model, batch)
    finally:
        model.train(training)
    return float(counter.get_total_flops()) / 2 / batch.size


def width_of(term: Term, widths: Mapping[str, int]) -> int:
    """The length of an axis at these widths."""
    if isinstance(term, Live):
        return widths.get(term.group, term.size)
    if isinstance(term, Fixed):
        return term.size
    if isinstance(term, Prod):
        return math.prod(width_of(part, widths) for part in term.parts)
    if isinstance(term, Sum):
        return sum(width_of(part, widths) for part in term.parts)
    return width_of(term.parts[0], widths)


def _cost(part: Part, unit: str, widths: Mapping[str, int]) -> float:
    each = {
        "multiply-adds": part.positions,
        "parameters": part.elements,
        "bytes": part.elements * part.itemsize,
    }[unit]
    return each * math.prod(width_of(term, widths) for term in part.axes) if each else 0.0


def _groups(axes: Axes) -> Iterator[str]:
    for term in axes:
        if isinstance(term, Live):
            yield term.group
        elif not isinstance(term, Fixed):
            yield from _groups(term.parts)


def _examples(traced: TracedNetwork) -> int:
    """The number of examples in the trace."""
    axis = traced.example_axis
    for node in traced.graph.nodes:
        value = node.meta.get("val")
        if (
            axis is not None
            and node.op == "placeholder"
            and node.name not in traced.state_names
            and isinstance(value, Tensor)
            and value.dim() > axis
        ):
            return max(1, int(shape_of(value)[axis]))
    return 1


def _positions(traced: TracedNetwork) -> dict[str, float]:
    """State-dict name of a weight -> how often a batch of the trace uses each element."""
    found: dict[str, float] = {}
    for node in traced.graph.nodes:
        if node.op != "call_function":
            continue
        for weight, count in _uses(node, traced.state_names):
            found[weight] = found.get(weight, 0.0) + count
    return found


def _uses(node: fx.Node, names: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """The weights that an operator multiplies with, each with the number of its positions."""
    operator = operator_name(node)
    held = [one for one in _inputs(node.args) if one.name in names]
    if not held:
        return
    values = [one for one in node.args if isinstance(one, fx.Node) and one.name not in names]
    out = node.meta.get("val")
    if operator in ("lstm", "gru", "rnn_tanh", "rnn_relu") and values:
        shape = shape_of(values[0].meta["val"])
        steps = math.prod(shape[:-1])
        for one in held:
            if len(shape_of(one.meta["val"])) == 2:
                yield names[one.name], steps
    elif operator.startswith("conv") and isinstance(out, Tensor) and values:
        weight = held[0]
        transposed = "transpose" in operator
        shape = shape_of(values[0].meta["val"]) if transposed else shape_of(out)
        yield names[weight.name], math.prod(shape) / shape[1]
    elif operator in ("linear", "addmm", "mm", "matmul", "bmm") and isinstance(out, Tensor):
        for one in held:
            size = shape_of(one.meta["val"])
            if len(size) >= 2 and values:
                read = shape_of(values[0].meta["val"])
                yield names[one.name], math.prod(read[:-1])
    elif operator.endswith("_cell"):
        count = math.prod(shape_of(values[0].meta["val"])[:-1]) if values else 1
        for one in held:
            if len(shape_of(one.meta["val"])) == 2:
                yield names[one.name], count


def _inputs(value: Any) -> Iterator[fx.Node]:
    if isinstance(value, fx.Node):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _inputs(one)
