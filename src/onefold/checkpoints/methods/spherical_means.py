"""Means of any number of models on a sphere.

Both methods lie in the span of the models, so that their coefficients follow from the inner
products of the models alone. No further pass over the tensors is needed, whatever the number of
iterations.

Karcher mean (Karcher 1977): m is the unit vector at which the logarithms of all unit vectors
u_i = theta_i / |theta_i| sum to zero,

    T = mean_i O_i / sin(O_i) * (u_i - <u_i, m> m),   O_i = arccos <u_i, m>,
    m <- cos|T| m + sin|T| T / |T|   until |T| < tol,
    merged = m * mean_i |theta_i|

Multi-SLERP: one such step, with weights, from the normalised weighted mean m of the u_i. Without
the factor O_i / sin(O_i) the step is zero there, since sum_i w_i u_i is a multiple of m:

    merged = m * sum_i w_i |v_i|        v_i = theta_i, or theta_i - theta_0 with a base

Where all v_i are 0 the length is 0 as well, and no direction is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Method, Prepared, TensorInputs, methods
from onefold.checkpoints.methods.combining import combined
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import WEIGHT, Parameter, Value, setting
from onefold.checkpoints.methods.products import products
from onefold.errors import MembersError

if TYPE_CHECKING:
    from torch import Tensor


class SphereMethod(Method):
    """Base of methods whose coefficients follow from inner products."""

    def facts(self, inputs: TensorInputs) -> Tensor:
        """(n, n) inner products of the models, or of their differences from the base."""
        read = inputs.read if inputs.base is None else inputs.delta
        return products(inputs, range(len(inputs.tensors)), read)[0]

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The sum of the models times their factors."""
        return combined(prepared.inputs, plan, start, stop)


@methods.register("multislerp")
@dataclass(frozen=True)
class MultiSlerp(SphereMethod):
    """The weighted mean direction of the models, times the weighted mean of their norms.

    Attributes:
        normalize_weights: divide the weights by their sum.
        eps: added to norms, and the norm below which a mean has no direction.
    """

    normalize_weights: bool = setting(True, kind=bool, help="Divide the weights by their sum.")
    eps: float = setting(1e-8, low=0.0, help="Added to norms before division.")

    per_model: ClassVar[tuple[Parameter, ...]] = (WEIGHT,)
    scales: ClassVar[tuple[str, ...]] = ("weight", "normalize_weights", "eps")

    def problem(self, parameters: Sequence[Mapping[str, Value]]) -> str | None:
        """Weights that sum to 0 cannot be normalised."""
        summed = sum(float(p["weight"] or 0.0) for p in parameters)
        if self.normalize_weights and len(parameters) > 1 and summed == 0:
            return "The weights of multislerp sum to 0; change one."
        return None

    def plan(self, prepared: Prepared) -> list[float]:
        """The factor of each model.

        Raises:
            MembersError: the mean of three or more models has no direction.
        """
        gram, count = prepared.facts, len(prepared.inputs.tensors)
        if count == 1:
            return [1.0]
        weights = torch.tensor(prepared.values("weight"), dtype=torch.float64)
        if self.normalize_weights:
            weights = weights / weights.sum()
        norms = torch.diagonal(gram).sqrt()
        if not norms.any():  # a tensor that no model changed
            return [0.0] * count
        factors = weights / (norms + self.eps).clamp(min=1e-300)
        length = float((factors @ gram @ factors).clamp(min=0).sqrt())
        if length < self.eps or length == 0:
            if count == 2:
                return [float(weight) for weight in weights]
            raise MembersError(
                f"The weighted directions of '{prepared.inputs.name}' cancel, so that multislerp"
                " has no mean; change the weights."
            )
        return [float(f) for f in factors / length * (weights @ norms)]


@methods.register("karcher")
@dataclass(frozen=True)
class Karcher(SphereMethod):
    """The Karcher mean of all models' directions, times the mean of their norms.

    Attributes:
        max_iter: greatest number of iterations.
        tol: length of a step at which they end, and the norm up to which a tensor is left out.
    """

    max_iter: int = setting(10, kind=int, low=0, help="Greatest number of iterations.")
    tol: float = setting(1e-5, low=0.0, help="Length of a step at which iterations end.")

    allows_base: ClassVar[bool] = False
    takes_base_as_model: ClassVar[bool] = True
    scales: ClassVar[tuple[str, ...]] = ("max_iter", "tol")

    def plan(self, prepared: Prepared) -> list[float]:
        """The factor of each model."""
        gram = prepared.facts
        norms = torch.diagonal(gram).sqrt()
        used = norms > self.tol
        factors = torch.zeros_like(norms)
        if len(norms) == 1:
            return [1.0]
        if used.any():
            units = gram[used][:, used] / torch.outer(norms[used], norms[used])
            factors[used] = self.mean(units.clamp(-1, 1)) / norms[used] * norms.mean()
        return [float(factor) for factor in factors]

    def mean(self, gram: Tensor) -> Tensor:
        """The coefficients of the mean of unit vectors.

        Args:
            gram: (n, n) their inner products.
        """

        def norm(coefficients: Tensor) -> float:
            return float((coefficients @ gram @ coefficients).clamp(min=0).sqrt())

        share = torch.full((len(gram),), 1 / len(gram), dtype=torch.float64)
        length = norm(share)
        mean = share / length
        if length < self.tol or length == 0:
            mean = torch.zeros_like(share)
            mean[0] = 1.0
        for _ in range(int(self.max_iter)):
            cosine = (gram @ mean).clamp(-1, 1)
            angle = torch.acos(cosine)
            pull = torch.where(angle < self.tol, 0.0, share * angle / torch.sin(angle))
            pull = torch.nan_to_num(pull, posinf=0.0)
            step = pull - (pull @ cosine) * mean
            length = norm(step)
            if length < self.tol or length == 0:
                break
            tensor = torch.tensor(length, dtype=torch.float64)
            mean = torch.cos(tensor) * mean + torch.sin(tensor) / tensor * step
            length = norm(mean)
            mean = mean / length if length > self.tol else mean
        return mean
