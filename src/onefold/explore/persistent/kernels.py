"""Kernels: how strongly a solution repels at a distance, with derivatives.

With u = theta - theta_0 and v = theta* - theta_0 of one group, everything is measured in units of
|v|, so that no kernel depends on the scale of a layer:

    d2 = |u - v|^2 / |v|^2      squared distance, 1 at the start and 0 at the solution
    r2 = |u|^2 / |v|^2          squared length of the way gone
    p  = <u, v> / |v|^2         the way gone toward the solution

The paper's own kernel is not known (see persistent.py). All of these are reconstructions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from onefold.errors import PersistentError, nearest
from onefold.registry import Registry

DISTANCE, DIRECTION, PREDICTIONS = "distance", "direction", "predictions"
FLOOR = 1e-12  # keeps the root of the hinge differentiable at the solution itself


@dataclass(frozen=True)
class Kernel:
    """One kernel. All tensors have one shape, and `width` is a number above 0.

    Attributes:
        of: "distance" or "predictions", a function of d2; or "direction", a function of p and r2.
        values: (d2, width) -> kernel, d kernel / d d2; or of a direction (p, r2, width) -> kernel,
            d / d p, d / d r2.
    """

    of: str
    values: Callable[..., tuple[Tensor, ...]]


kernels: Registry[Kernel] = Registry("kernel")


def kernel_named(name: str) -> Kernel:
    """The kernel of this name.

    Raises:
        PersistentError: there is none; the message gives the nearest known name.
    """
    if not isinstance(name, str) or name not in kernels:
        raise PersistentError(
            f"There is no kernel named '{name}'; {nearest(str(name), kernels.names())}"
        )
    return kernels.get(name)


def gaussian(d2: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """exp(-d2 / (2 width^2))."""
    value = (d2 * (-0.5 / width**2)).exp()
    return value, value * (-0.5 / width**2)


def inverse(d2: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """1 / (d2 + width^2 / 10)."""
    value = (d2 + 0.1 * width**2).reciprocal()
    return value, -value.square()


def hinge(d2: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """max(0, width - d)^2 of the distance d = sqrt(d2 + 1e-12)."""
    distance = (d2 + FLOOR).sqrt()
    inside = (width - distance).clamp_min(0)
    return inside.square(), -inside / distance


def cosine(p: Tensor, r2: Tensor, width: float) -> tuple[Tensor, Tensor, Tensor]:
    """max(0, p)^2 / (r2 + width^2 / 100).

    It is the squared cosine of u and v but for the second summand, without which it would jump at
    u = 0.
    """
    toward, below = p.clamp_min(0), r2 + 0.01 * width**2
    value = toward.square() / below
    return value, 2 * toward / below, -value / below


kernels.register(
    "gaussian",
    summary=(
        "A bump around every solution, exp(-d2 / 2 width^2); reaches the start with 0.61 at"
        " width 1."
    ),
)(Kernel(DISTANCE, gaussian))
kernels.register(
    "inverse", summary="1 / (d2 + width^2 / 10): steep near the solution, and felt from afar."
)(Kernel(DISTANCE, inverse))
kernels.register(
    "hinge",
    summary=(
        "max(0, width - d)^2: nothing beyond width, so that at width 1 nothing at the start; 1.5 is"
        " a good width."
    ),
)(Kernel(DISTANCE, hinge))
kernels.register(
    "cosine",
    summary=(
        "Squared cosine with the way to a solution: repels from its direction, at any distance."
    ),
)(Kernel(DIRECTION, cosine))
kernels.register(
    "function",
    summary=(
        "A bump between predictions on a reference batch, blind to what leaves the function as"
        " it is."
    ),
)(Kernel(PREDICTIONS, gaussian))
