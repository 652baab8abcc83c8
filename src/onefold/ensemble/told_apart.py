"""Which classifiers know different classes, told from their predictions without labels.

For the mean probabilities m_k = mean_x p_k(x) of two classifiers on the same examples,

    apart(j, k) = (1/2) sum_c |m_jc - m_kc|

is the total variation. They are told apart if it is APART or more, and is SYSTEMATIC or more of the
share of the examples that they answer differently: errors that cancel shift no shares of classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Members that were trained on the same data had at most 0.04, on other examples of the same classes
# 0.06; on classes in shares of 80 to 20 they had 0.13 and more, and 0.08 where nearly perfect.
APART = 0.06
# Members of the same data and of other examples of the same classes had at most 0.4; members of
# different classes had 0.6 and more.
SYSTEMATIC = 0.5


def variations(shares: Tensor) -> Tensor:
    """(K, K): the total variation of every two rows of shares (K, C), from 0 to 1."""
    return torch.cdist(shares, shares, p=1) / 2


def told_apart(shares: Tensor, agreement: Tensor) -> Tensor:
    """(K, K) bool: whether two classifiers know different classes.

    Args:
        shares: (K, C) the mean probability of every class.
        agreement: (K, K) the shares of examples with equal answers.
    """
    apart = variations(shares)
    return (apart >= APART) & (apart >= SYSTEMATIC * (1 - agreement))


def agreements(answers: Tensor) -> Tensor:
    """(K, K) float64: the shares of equal answers (K, n)."""
    return (answers.unsqueeze(0) == answers.unsqueeze(1)).double().mean(-1)
