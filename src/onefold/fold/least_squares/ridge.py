"""Ridge regression towards a prior, from sums of products alone.

    minimise over W   |X W - T|^2 / n + lambda m |W - W0|^2,    m = the mean of the diagonal of X'X
    / n, W = W0 + (X'X / n + lambda m I)^-1 X'(T - X W0) / n

The constant is not penalised: X and T are centred, X already before the products by the mean of the
first rows, as rows that are far from zero beside what they vary would leave nothing but rounding.
lambda and the prior W0 are those with the least error on rows that are held out; one candidate,
lambda = inf, changes nothing but the constant. Products are taken in the rows' precision, sums and
solutions in float64. Hoerl & Kennard 1970.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGES = (
    1.0,
    3e-1,
    1e-1,
    3e-2,
    1e-2,
    3e-3,
    1e-3,
    1e-4,
)  # most layers want a large one: the search stops behind the first minimum


@dataclass(frozen=True)
class Solution:
    """matrix (groups, D, outputs) and constant (groups, outputs), float64; which ridge (inf: the
    prior's matrix) and prior; r2: the explained share of the target's variance on the held-out
    rows; mean and covariance of the inputs (groups, D), (groups, D, D).
    """

    matrix: Tensor
    constant: Tensor
    ridge: float
    prior: int
    r2: float
    mean: Tensor
    covariance: Tensor


class _Sums:
    """n, and the sums of x, y, x x', x y', y^2; y: the target less each prior's output, (priors,
    ...).
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
    """Sums over rows that are fitted and rows that are held out, and the solution from them.
    priors: each (matrix, constant), float64.
    """

    def __init__(self, priors: list[tuple[Tensor, Tensor]], intercept: bool) -> None:
        self._priors, self._intercept = priors, intercept
        self._fitted, self._held = _Sums(), _Sums()
        self._target = torch.zeros(
            3, dtype=torch.float64
        )  # of held-out rows: sum over outputs of n, t, t^2
        self._totals: list[Tensor] = []
        self._shift: Tensor | None = None  # (groups, D), in the rows' precision

    def add(self, x: Tensor, target: Tensor, held: int) -> None:
        """x (groups, n, D) and target (groups, n, outputs), the last `held` rows being held out."""
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
        """The best of all ridges and priors on the held-out rows, or of all priors for this ridge,
        fitted again to all rows.
        """
        everything = (
            self._fitted.plus(self._held)
            if self._fitted.n and self._held.n
            else self._fitted
            if self._fitted.n
            else self._held
        )
        best: tuple[float, float, int] = (float("inf"), ridge or 1e-2, 0)
        if self._fitted.n and self._held.n:
            previous = float("inf")
            for candidate in [ridge] if ridge is not None else [float("inf"), *RIDGES]:
                errors = self._error(*self._correction(self._fitted, candidate))
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
        own_matrix, own_constant = self._shifted(self._priors[prior])
        matrix, constant = own_matrix + matrix[prior], own_constant + constant[prior]
        if self._shift is not None:
            constant = constant - torch.einsum("gd,gdo->go", self._shift.double(), matrix)
            mean = mean + self._shift
        return Solution(matrix, constant, chosen, prior, self._r2(error), mean, covariance)

    def _shifted(self, prior: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """A matrix and constant for rows that the shift has been taken from."""
        matrix, constant = prior
        return (
            (matrix, constant)
            if self._shift is None
            else (matrix, constant + torch.einsum("gd,gdo->go", self._shift.double(), matrix))
        )

    def _correction(self, sums: _Sums, ridge: float) -> tuple[Tensor, Tensor]:
        """W - W0 and b - b0 for every prior: (priors, groups, D, outputs), (priors, groups,
        outputs).
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
        factor = torch.linalg.cholesky(
            gram
            + loading[:, None, None]
            * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        )
        matrix = torch.cholesky_solve(cross, factor.expand(len(cross), *factor.shape))
        return matrix, mean_y - torch.einsum("gd,pgdo->pgo", mean_x, matrix)

    def _error(self, matrix: Tensor, constant: Tensor) -> Tensor:
        """Squared error on the held-out rows for each prior, summed over rows and outputs."""
        held = self._held
        fitted = 2 * (matrix * held.xy).sum((1, 2, 3)) + 2 * (constant * held.y).sum((1, 2))
        quadratic = (matrix * (held.xx @ matrix)).sum((1, 2, 3)) + held.n * constant.square().sum(
            (1, 2)
        )
        mixed = 2 * (constant * torch.einsum("gd,pgdo->pgo", held.x, matrix)).sum((1, 2))
        return held.yy.sum((1, 2)) - fitted + quadratic + mixed

    def _r2(self, error: float) -> float:
        if not self._totals:
            return float("nan")
        total, squares = torch.stack(self._totals).sum(0)
        variance = float((squares - total.square() / self._held.n).sum())
        return 1 - error / variance if variance > 0 else float("nan")
