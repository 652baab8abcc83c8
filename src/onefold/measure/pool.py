r"""One opinion of several classifiers that were trained on different shares of the classes. Member k is asked as if it had seen the classes as the
data hold them, and is heard on each class in proportion to what it saw of it:

    q_c(x) ~ sum_k w_kc p_kc(x),    p_k = softmax(f_k + b_k),    b_kc = log pi_c - log s_kc,    w_kc = n_k s_kc / sum_j n_j s_jc,

where s_k are the shares of the classes among what member k was trained on, n_k how much that was, and pi the shares of the classes in the data. It
is Bayes' rule for p(x | c) = sum_k w_kc p_k(x | c), the classes of all that the members saw pooled, with every p_k(x) taken to be the same. The
shifts b_k: Saerens, Latinne & Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities" (Neural Computation 14);
Menon et al. 2021, "Long-tail learning via logit adjustment" (arXiv 2007.07314).

Where s_k comes from: `class_shares.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from onefold.errors import RecipeError
from onefold.measure.scores import EnsembleMean, EnsembleName

FLOOR = 1e-2  # the least share of a class that a member is taken to have seen, of an even one: it bounds the shifts


@dataclass(frozen=True, eq=False)
class ClassPool:
    """How K classifiers make one opinion.

    seen: (K, C) float64, the shares of the classes among what each member was trained on, rows that sum to 1; (K, 1) ones: not told apart.
    shares: (C,) float64, those of the data that it is asked about. weights: (K,) float64, of each member altogether. estimated: whether `seen` was.
    """

    seen: Tensor
    shares: Tensor
    weights: Tensor
    estimated: bool = False

    @property
    def shifts(self) -> Tensor:
        """(K, C) what is added to the members' logits."""
        floor = FLOOR / self.seen.shape[1]
        return self.shares.log() - self.seen.clamp_min(floor).log()

    @property
    def parts(self) -> Tensor:
        """(K, C) the weights of the members' probabilities; those of a class sum to 1. One that no member of any weight saw goes by weight alone."""
        weighed = self.weights[:, None] * self.seen
        weighed = torch.where(weighed.sum(0) > 0, weighed, self.weights[:, None])
        return weighed / weighed.sum(0)

    def led_by(self, weights: Sequence[float]) -> ClassPool:
        """The same, but every member's weight multiplied."""
        return replace(self, weights=self.weights * torch.tensor(list(weights), dtype=torch.float64))

    def log_part(self, logits: Tensor, member: int) -> Tensor:
        """log (w_k p_k) of one member's logits (..., C)."""
        return (logits + self.shifts[member].to(logits)).log_softmax(-1) + self.parts[member].log().to(logits)

    def combined(self, logits: Sequence[Tensor]) -> Tensor:
        """The unnormalised log-probabilities (..., C) of the pool, from all members' logits of this shape."""
        if len(logits) != len(self.seen):
            raise RecipeError(f"The pool is of {len(self.seen)} members but {len(logits)} answered; make one for these members.")
        if self.seen.shape[1] not in (1, logits[0].shape[-1]):
            raise RecipeError(
                f"The pool is of {self.seen.shape[1]} classes but the members put out {logits[0].shape[-1]}; make one for these members."
            )
        return torch.logsumexp(torch.stack([self.log_part(own, k) for k, own in enumerate(logits)]), 0)

    def only(self, member: int) -> ClassPool:
        """One member by itself, shifted to the classes of the data."""
        return replace(self, seen=self.seen[member : member + 1], weights=torch.ones(1, dtype=torch.float64))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClassPool:
        """What `to_dict` made."""
        seen, shares, weights = (torch.tensor(data[name], dtype=torch.float64) for name in ("seen", "shares", "weights"))
        return cls(seen, shares, weights, data["estimated"])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"seen": self.seen.tolist(), "shares": self.shares.tolist(), "weights": self.weights.tolist(), "estimated": self.estimated}


def mean_pool(weights: Sequence[float]) -> ClassPool:
    """The weighted mean of the members' probabilities, of any number of classes."""
    even = torch.ones(len(weights), 1, dtype=torch.float64)
    return ClassPool(even, even[0], torch.tensor(list(weights), dtype=torch.float64))


def name_of(ensemble: EnsembleMean | ClassPool) -> EnsembleName:
    """What reports call it."""
    return "classes" if isinstance(ensemble, ClassPool) else ensemble
