"""ZipIt: the features that correlate most are merged greedily, within members and across members.

Each of the members' K C features starts as a cluster. The two clusters of highest correlation are
merged, again and again, until C are left. P (K C, C) is 1 if a feature is in a cluster, else 0. The
merge matrix M = diag(1 / size) P' averages the features of each cluster. The unmerge matrix U = P
returns the average to each of them:

    W* = sum_k M_k W_k U_k

As maps of an alignment these are T_k = K M_k, with U_k in place of the inverse: the mean of the
mapped members is W*.

The correlation of two clusters is that of their least correlated features (complete linkage). Each
feature beyond K in a cluster multiplies the cluster's correlations by `penalty` (the paper's
alpha), so that no cluster takes in everything. At most `within` C merges join two clusters that
both hold features of one member. The paper's beta is a share of all (K - 1) C merges, of which each
member gets an equal part, beta (K - 1) C / K:

    within = beta (K - 1) / K        half of beta for two members

Stoica, Bolya, Bjorner, Ramesh, Hearn & Hoffman 2024, "ZipIt! Merging Models from Different Tasks
without Training" (arXiv 2305.03053). For K = 2 the penalty is the paper's; for more members it lets
clusters of one feature of each pass free, which is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onefold.alignment.matchers.base import JointMatcher, Match, feature_matchers
from onefold.alignment.moments import Moments
from onefold.errors import AlignmentError
from onefold.symmetry import GroupMap

SILENT = 1e-6  # of the largest deviation: a feature that varies less is constant


def zip_features(
    correlations: NDArray[np.float64], members: int, penalty: float, within: float
) -> NDArray[np.int64]:
    """Merge K C features into C clusters.

    Each merge costs a few passes over one row, so that everything takes O((K C)^2). For that the
    greatest entry of every row is stored as an upper bound, and is computed again only if the bound
    is the greatest of all.

    Args:
        correlations: (K C, K C), symmetric, member by member; it is overwritten.
        members: K.
        penalty: the factor on correlations for each feature of a cluster beyond K.
        within: how many merges may join features of one member, as a share of C.

    Returns:
        (K C,), the cluster of each feature; clusters are numbered by their first features.
    """
    count = len(correlations)
    width = count // members
    similarity = correlations
    np.fill_diagonal(similarity, -np.inf)
    # (clusters, members): whether a cluster holds features of a member
    owner = np.repeat(np.eye(members, dtype=bool), width, axis=0)
    size = np.ones(count, dtype=np.int64)
    alive = np.ones(count, dtype=bool)
    cluster = np.arange(count)
    budget = np.full(members, int(within * width + 1e-9))
    bound = similarity.max(1)
    powers = penalty ** np.arange(count + 1)
    free = False  # budgets no longer count: nothing else is left to merge

    def row(r: int) -> NDArray[np.float64]:
        value: NDArray[np.float64] = similarity[r]
        excess = size + (size[r] - members)
        penalized = value * powers[np.clip(excess, 0, count)]
        value = np.where((excess > 0) & (value > 0), penalized, value)
        spent = owner[r] & (budget <= 0)
        if spent.any() and not free:
            value = np.where(owner[:, spent].any(1), -np.inf, value)
        return value

    for _ in range(count - width):
        while True:
            r = int(bound.argmax())
            if bound[r] == -np.inf:
                free = True
                bound[alive] = np.inf
                continue
            value = row(r)
            c = int(value.argmax())
            if value[c] >= bound[r]:
                break
            bound[r] = value[c]
        keep, gone = min(r, c), max(r, c)
        budget[owner[keep] & owner[gone]] -= 1
        linked = np.minimum(similarity[keep], similarity[gone])
        similarity[keep], similarity[:, keep] = linked, linked
        similarity[gone], similarity[:, gone] = -np.inf, -np.inf
        owner[keep] |= owner[gone]
        size[keep] += size[gone]
        alive[gone], bound[gone] = False, -np.inf
        cluster[cluster == gone] = keep
    return np.unique(cluster, return_inverse=True)[1].astype(np.int64).reshape(-1)


@feature_matchers.register("zipit")
@dataclass(frozen=True)
class ZipIt(JointMatcher):
    """Greedy merging of the most correlated features, within members, too (ZipIt!).

    It maps all members at once.

    Attributes:
        penalty: the factor on correlations for each feature of a cluster beyond K, from 0 to 1.
        within: how many merges may join features of one member, as a share of its features, from
            0 to 1; half of the paper's beta for two members.
    """

    penalty: float = 0.3
    within: float = 0.125

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            AlignmentError: a setting is not between 0 and 1.
        """
        super().__post_init__()
        for name, value in (("penalty", self.penalty), ("within", self.within)):
            if not math.isfinite(value) or not 0 <= value <= 1:
                what = "a share of each member's features" if name == "within" else "a factor"
                raise AlignmentError(
                    f"ZipIt's {name} is {value}; it is {what} and must lie between 0 and 1."
                )

    def match_all(self, moments: Moments) -> list[Match]:
        """The map of every member into the clusters; `moments` hold all pairs of members."""
        members, width = moments.members, moments.width
        blocks = [
            [moments.correlation_between(i, j).cpu() for j in range(members)]
            for i in range(members)
        ]
        agreement = [
            sum(float(blocks[k][j].square().sum()) for j in range(members) if j != k)
            for k in range(members)
        ]
        # Ties are decided by the agreement, and so not by the order in which members come.
        order = sorted(range(members), key=lambda k: -agreement[k])
        matrix = torch.cat([torch.cat([blocks[i][j] for j in order], 1) for i in order], 0)
        deviations = moments.variances.sqrt().cpu()
        silent = (deviations <= SILENT * deviations.max(1, keepdim=True).values)[order].reshape(-1)
        matrix[silent] = 0.0
        matrix[:, silent] = 0.0
        # Features that never vary are alike: merging them costs nothing.
        matrix[silent[:, None] & silent[None]] = 1.0
        cluster = torch.as_tensor(
            zip_features(matrix.numpy().copy(), members, self.penalty, self.within)
        )
        unmerge = torch.nn.functional.one_hot(cluster, width).to(torch.float64)
        merge = unmerge / unmerge.sum(0)
        inside = _agreement(matrix, unmerge)
        matches: dict[int, Match] = {}
        for position, k in enumerate(order):
            rows = slice(position * width, (position + 1) * width)
            forward, backward = members * merge[rows].T.contiguous(), unmerge[rows].contiguous()
            score = (backward * inside[rows, None]).sum(0) / backward.sum(0).clamp_min(1.0)
            matches[k] = Match(GroupMap("dense", forward, backward), score, _condition(forward))
        return [matches[k] for k in range(members)]


def _agreement(correlations: Tensor, unmerge: Tensor) -> Tensor:
    """(K C,), the mean correlation of each feature with the others of its cluster.

    It is 0 for a feature that stays alone.
    """
    together = unmerge @ unmerge.T
    together.fill_diagonal_(0.0)
    return (correlations * together).sum(1) / together.sum(1).clamp_min(1.0)


def _condition(matrix: Tensor) -> float:
    """The greatest singular value divided by the least that is not zero.

    A cluster without a feature of a member gives a row of zeros.
    """
    # Rows have no column in common, so their norms are the singular values.
    values = (matrix @ matrix.T).diagonal().sqrt()
    return float(values.max() / values[values > 0].min())
