"""Ridge regression towards a prior, from sums of products alone.

    minimise over W   |X W - T|^2 / n + lambda m |W - W0|^2,
    W = W0 + (X'X / n + lambda m I)^-1 X'(T - X W0) / n,
    m = the mean of the diagonal of X'X / n.

The constant is not penalised: X and T are centred. X is centred already before the products, by the
mean of the first rows: if rows are far from zero compared with their variation, the products would
hold rounding errors alone.

lambda and the prior W0 are those with the least error on rows that are held out. One candidate,
lambda = inf, changes nothing but the constant. Products are taken in the rows' precision, sums and
solutions in float64. Hoerl & Kennard 1970.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# In falling order: most layers want a large one, and the search stops behind the first minimum.
RIDGES = (1.0, 3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4)


@dataclass(frozen=True)
class Solution:
    """The solution of one regression, in groups of outputs.

    Attributes:
        matrix: (groups, D, outputs), float64.
        constant: (groups, outputs), float64.
        ridge: lambda that was chosen; inf for the prior's matrix.
        prior: the number of the prior that was chosen.
        r2: the explained share of the target's variance on the held-out rows; NaN without any.
        mean: of the inputs (groups, D).
        covariance: of the inputs (groups, D, D).
    """

    matrix: Tensor
    constant: Tensor
    ridge: float
    prior: int
    r2: float
    mean: Tensor
    covariance: Tensor


class _Sums:
    """The number n of rows, and sums of x, y, x x', x y' and y^2.

    y is the target less each prior's output, with the priors as the first axis.
    """

    def __init__(self) -> None:
        self.n = 0
        self.x = self.y = self.xx = self.xy = self.yy = torch.zeros(())

    def add(self, x: Tensor, y: Tensor) -> None:
        self.n += x.shape[1]
        transposed = x.transpose(1, 2)
        self._to("x", x.sum(1, dtype=torch.float64))
        self._to("y", y.sum(2, dtype=torch.float64))
        self._to("xx", transposed @ x)
        self._to("xy", torch.stack([transposed @ one for one in y]))
        self._to("yy", y.double().square().sum(2))

    def _to(self, name: str, value: Tensor) -> None:
        total: Tensor = getattr(self, name)
        if total.dim():
            total.add_(value)  # in place: the sums are float64 and large
        else:
            setattr(self, name, value.double())

    def plus(self, other: _Sums) -> _Sums:
        total = _Sums()
        for name in ("n", "x", "y", "xx", "xy", "yy"):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        return total


class Ridge:
    """Sums over fitted and held-out rows, and the solution from them.

    Args:
        priors: matrix (groups, D, outputs) and constant (groups, outputs) of each, float64.
        intercept: whether the solution may have a constant of its own.
    """

    def __init__(self, priors: list[tuple[Tensor, Tensor]], intercept: bool) -> None:
        self._priors, self._intercept = priors, intercept
        self._fitted, self._held = _Sums(), _Sums()
        self._totals: list[Tensor] = []  # of held-out rows: sums of t and t^2
        self._shift: Tensor | None = None  # (groups, D), in the rows' precision

    def add(self, x: Tensor, target: Tensor, held: int) -> None:
        """Add rows x (groups, n, D) and target (groups, n, outputs).

        The last `held` rows are held out.
        """
        if self._intercept:
            if self._shift is None:
                self._shift = x.mean(1)
            x = x - self._shift[:, None]
        y = torch.stack(
            [
                target - (x @ matrix.to(x.dtype) + constant[:, None].to(x.dtype))
                for matrix, constant in map(self._shifted, self._priors)
            ]
        )
        cut = x.shape[1] - held
        if cut:
            self._fitted.add(x[:, :cut], y[:, :, :cut])
        if held:
            self._held.add(x[:, cut:], y[:, :, cut:])
            rows = target[:, cut:].double()
            self._totals.append(torch.stack([rows.sum(1), rows.square().sum(1)]))

    def solve(self, ridge: float | None) -> Solution:
        """The solution with the least error on the held-out rows, fitted again to all rows.

        Args:
            ridge: lambda; None to choose among RIDGES and inf.
        """
        both = self._fitted.n and self._held.n
        everything = self._fitted if self._fitted.n else self._held
        if both:
            everything = self._fitted.plus(self._held)
        best: tuple[float, float, int] = (float("inf"), ridge or 1e-2, 0)
        if both:
            previous = float("inf")
            for candidate in [ridge] if ridge is not None else [float("inf"), *RIDGES]:
                errors = self.held_out_error(*self._correction(self._fitted, candidate))
                error, least = float(errors.min()), int(errors.argmin())
                if error < best[0]:
                    best = (error, candidate, least)
                if candidate != float("inf") and error >= previous:
                    break  # the error of ridge regression nearly always has one minimum in lambda
                previous = error if candidate != float("inf") else previous
        error, chosen, prior = best
        matrix, constant = self._correction(everything, chosen)
        mean = everything.x / everything.n
        covariance = everything.xx / everything.n - mean[:, :, None] * mean[:, None, :]
        prior_matrix, prior_constant = self._shifted(self._priors[prior])
        matrix, constant = prior_matrix + matrix[prior], prior_constant + constant[prior]
        if self._shift is not None:
            constant = constant - torch.einsum("gd,gdo->go", self._shift.double(), matrix)
            mean = mean + self._shift
        return Solution(matrix, constant, chosen, prior, self._r2(error), mean, covariance)

    def _shifted(self, prior: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """A matrix and its constant for rows from which the shift has been taken."""
        matrix, constant = prior
        if self._shift is None:
            return matrix, constant
        return matrix, constant + torch.einsum("gd,gdo->go", self._shift.double(), matrix)

    def _correction(self, sums: _Sums, ridge: float) -> tuple[Tensor, Tensor]:
        """The change of matrix and constant against every prior.

        W - W0 is (priors, groups, D, outputs), b - b0 is (priors, groups, outputs).
        """
        n = sums.n
        mean_x = sums.x / n if self._intercept else torch.zeros_like(sums.x)
        mean_y = sums.y / n if self._intercept else torch.zeros_like(sums.y)
        if ridge == float("inf"):
            return torch.zeros_like(sums.xy), mean_y
        gram = sums.xx / n - mean_x[:, :, None] * mean_x[:, None, :]
        cross = sums.xy / n - mean_x[None, :, :, None] * mean_y[:, :, None, :]
        diagonal = gram.diagonal(dim1=1, dim2=2).clamp_min(0.0).mean(1)
        loading = (ridge * diagonal).clamp_min(max(1e-12 * float(diagonal.max()), 1e-30))
        identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        factor = torch.linalg.cholesky(gram + loading[:, None, None] * identity)
        matrix = torch.cholesky_solve(cross, factor.expand(len(cross), *factor.shape))
        return matrix, mean_y - torch.einsum("gd,pgdo->pgo", mean_x, matrix)

    def held_out_error(self, matrix: Tensor, constant: Tensor) -> Tensor:
        """The squared error on the held-out rows, summed over rows and outputs.

        Args:
            matrix: (priors, groups, inputs, outputs), what is added to each prior's matrix.
            constant: (priors, groups, outputs), the same for its constant.

        Returns:
            (priors,).
        """
        held = self._held
        fitted = 2 * (matrix * held.xy).sum((1, 2, 3)) + 2 * (constant * held.y).sum((1, 2))
        squares = constant.square().sum((1, 2))
        quadratic = (matrix * (held.xx @ matrix)).sum((1, 2, 3)) + held.n * squares
        mixed = 2 * (constant * torch.einsum("gd,pgdo->pgo", held.x, matrix)).sum((1, 2))
        return held.yy.sum((1, 2)) - fitted + quadratic + mixed

    def _r2(self, error: float) -> float:
        if not self._totals:
            return float("nan")
        total, squares = torch.stack(self._totals).sum(0)
        variance = float((squares - total.square() / self._held.n).sum())
        return 1 - error / variance if variance > 0 else float("nan")
