"""Transport: features of a member are moved onto the reference's at the least cost (OT Fusion).

The marginals are uniform, a = 1 / C_r and b = 1 / C_k. D_ij is the squared distance between feature
i of the reference and feature j of the member. The plan is

    P = argmin <P, D> - e H(P)    over P >= 0 with row sums a and column sums b.

Each feature of the reference is the mean of the features that are moved there, and is returned in
the same shares:

    T_k = diag(1 / a) P     (C_r, C_k)
    P' diag(1 / b)          (C_k, C_r), in place of the inverse

Exact transport (e = 0) between equal numbers of features is a permutation. D is the squared
distance of the activations over the data, divided by their variances if `standardized`:

    D_ij = 2 - 2 corr_ij                  if standardized
    D_ij = var_i + var_j - 2 cov_ij       if not

The entropy e is relative to the mean of D. With the defaults (e = 0, standardized) and equal widths
the map is the permutation of the greatest sum of correlations, the same that the matcher
`permutation` finds.

Singh & Jaggi 2020, "Model Fusion via Optimal Transport" (arXiv 1910.05653); Cuturi 2013, "Sinkhorn
distances" (arXiv 1306.0895). The paper divides the map of consumers by a and not by b, which
differs for unequal widths only: there it scales what they read by C_r / C_k.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from onefold.alignment.features import Features, likeness
from onefold.alignment.matchers.base import Match, Matcher, feature_matchers
from onefold.errors import AlignmentError
from onefold.symmetry import GroupMap


def plan(costs: Tensor, entropy: float = 0.0) -> Tensor:
    """The transport plan (R, C), float64 on the CPU, of uniform marginals for costs (R, C).

    Args:
        costs: (R, C).
        entropy: relative to the mean of the costs; 0 for exact transport.

    Raises:
        AlignmentError: the package POT is needed and is not installed, or the iteration did not
            converge because the entropy is too small.
    """
    rows, columns = costs.shape
    costs = costs.detach().to("cpu", torch.float64)
    if entropy == 0 and rows == columns:
        order = torch.as_tensor(linear_sum_assignment(costs.numpy())[1])
        return torch.nn.functional.one_hot(order, columns).to(torch.float64) / columns
    a = torch.full((rows,), 1.0 / rows, dtype=torch.float64)
    b = torch.full((columns,), 1.0 / columns, dtype=torch.float64)
    ot, scale = _pot(), float(costs.abs().mean()) or 1.0
    if entropy == 0:
        exact: Tensor = torch.as_tensor(
            ot.emd(a.numpy(), b.numpy(), costs.numpy(), numItermax=10_000_000)
        )
        return exact
    soft: Tensor = torch.as_tensor(
        ot.sinkhorn(
            a.numpy(),
            b.numpy(),
            costs.numpy() / scale,
            entropy,
            method="sinkhorn_log",
            numItermax=10_000,
            warn=False,
        )
    )
    off = float((soft.sum(1) - a).abs().max()) * rows
    if not off < 1e-3:
        raise AlignmentError(
            f"Sinkhorn's iteration did not converge with an entropy of {entropy}; take a greater"
            " one, or 0 for exact transport."
        )
    return soft


@feature_matchers.register("transport")
@dataclass(frozen=True)
class Transport(Matcher):
    """Optimal transport (OT Fusion); of equal widths without entropy the same as permutation.

    It takes members of unequal widths, too.

    Attributes:
        entropy: weight of the entropy, relative to the mean distance; 0 for exact transport.
        standardized: whether features are divided by their deviations before distances are taken.
    """

    entropy: float = 0.0
    standardized: bool = True

    dense = True
    rotates = False
    covariances = True
    widths = True

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            AlignmentError: the entropy is negative or not finite.
        """
        super().__post_init__()
        if not math.isfinite(self.entropy) or self.entropy < 0:
            raise AlignmentError(
                f"The entropy of transport is {self.entropy}; it must be 0 or greater."
            )

    def match(self, moments: Features, member: int) -> Match:
        """Map `member` to the reference by the transport plan.

        Raises:
            AlignmentError: as `plan`.
        """
        correlations = moments.correlation(member).cpu()
        if self.entropy == 0 and self.standardized:
            # Ties are decided as by the matcher `permutation`.
            costs = 2.0 - 2.0 * likeness(moments, member)
        else:
            costs = self.costs(moments, member)
        moved = plan(costs, self.entropy)
        rows, columns = moved.shape
        if self.entropy == 0 and rows == columns:
            order = moved.argmax(1)
            scores = correlations.gather(1, order[:, None]).squeeze(1)
            return Match(GroupMap("permutation", order), scores)
        forward, inverse = rows * moved, columns * moved.T
        scores = (forward * correlations).sum(1)
        group_map = GroupMap("dense", forward.contiguous(), inverse.contiguous())
        return Match(group_map, scores, float(torch.linalg.cond(forward)))

    def costs(self, moments: Features, member: int) -> Tensor:
        """The squared distances D (C_r, C_k) of the features."""
        if self.standardized:
            return 2.0 - 2.0 * moments.correlation(member)
        assert moments.reference is not None
        var_r = moments.covariance(moments.reference).diagonal()
        var_k = moments.covariance(member).diagonal()
        return var_r[:, None] + var_k[None] - 2.0 * moments.cross_covariance(member)


def _pot() -> Any:
    try:
        return importlib.import_module("ot")
    except ImportError:
        raise AlignmentError(
            "This transport needs the package POT; install it with: pip install"
            ' "onefold[transport]".'
        ) from None
