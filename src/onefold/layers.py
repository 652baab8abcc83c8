"""Layers of a network by the state-dict names of their tensors, and the norms around them.

Plain data. `symmetry` fills it in; every package above reads it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Norm:
    """A batch norm over axis 1 with running statistics.

    Attributes:
        node: node of the traced graph that computes it.
        scale: state-dict name of the learned scale; None if it has no affine part.
        shift: state-dict name of the learned shift; None if it has no affine part.
        mean: state-dict name of the running mean.
        variance: state-dict name of the running variance.
        eps: number that it adds to the variance.
    """

    node: str
    scale: str | None
    shift: str | None
    mean: str
    variance: str
    eps: float


@dataclass(frozen=True)
class ScaleFold:
    """A learned scale (C,) that can move into the weights behind it.

    Only linear weights read what it scales.

    Attributes:
        scale: state-dict name of the scale.
        shift: state-dict name of the shift that is added behind it, or None.
        consumers: (state-dict name, axis) of every weight that takes the scale, with the axis along
            which it is multiplied.
    """

    scale: str
    shift: str | None
    consumers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Layer:
    """A linear or convolutional layer, with the batch norm that can be folded into it.

    Layers are listed in graph order.

    Attributes:
        node: the layer's own node of the traced graph.
        kind: "linear", "conv" or "conv_transpose".
        weight: state-dict name of the weight.
        bias: state-dict name of the bias, or None.
        weight_axis: axis of `weight` that holds output channels.
        source: node that the layer reads.
        output: `norm.node` if there is a norm, else `node`.
        output_axis: axis of the output node that holds output channels.
        groups: groups of a grouped convolution.
        norm: batch norm behind the layer that can be folded into it, or None.
        shared: whether the weight is used more than once, so that the statistics of one site must
            not change it.
    """

    node: str
    kind: str
    weight: str
    bias: str | None
    weight_axis: int
    source: str
    output: str
    output_axis: int
    groups: int = 1
    norm: Norm | None = None
    shared: bool = False
