"""A layer of a network by the state-dict names of its tensors, and the norms around it.

Plain data: found by `symmetry`, used by all above.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Norm:
    """A batch norm over axis 1 with running statistics.

    `scale` and `shift` are None where it has no affine part.
    """

    node: str
    scale: str | None
    shift: str | None
    mean: str
    variance: str
    eps: float


@dataclass(frozen=True)
class ScaleFold:
    """A learned scale (C,), and the shift behind it, that only linear weights read: the scale can
    move into them, along these axes.
    """

    scale: str
    shift: str | None
    consumers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Layer:
    """A linear or convolutional layer, in graph order, with the batch norm behind it where that
    norm can be folded into it.

    node: the layer's own node. source: the node that it reads. output: `norm.node` if there is a
    norm, else `node`. weight_axis: the axis of `weight` that holds output channels. output_axis:
    the axis of the output node that does. kind: linear, conv, conv_transpose. shared: the weight is
    used more than once, so that one site's statistics must not change it.
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
