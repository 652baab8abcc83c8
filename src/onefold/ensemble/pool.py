"""One opinion of several classifiers that were trained on different shares of the classes.

Each member's prediction is shifted to the class shares of the data, and is weighted on each class
in proportion to how much of that class it saw:

    q_c(x) ~ sum_k w_kc p_kc(x),    p_k = softmax(f_k + b_k),
    b_kc = log pi_c - log s_kc,     w_kc = n_k s_kc / sum_j n_j s_jc,

with s_k the shares of the classes in the training data of member k, n_k the size of that data, and
pi the shares of the classes in the data. It is Bayes' rule for p(x | c) = sum_k w_kc p_k(x | c),
the classes of all that the members saw pooled, with every p_k(x) taken to be the same. The shifts
b_k: Saerens, Latinne & Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori
Probabilities" (Neural Computation 14); Menon et al. 2021, "Long-tail learning via logit adjustment"
(arXiv 2007.07314).

`class_shares.py` finds s_k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from onefold.errors import SettingError

# The least share of a class that a member is taken to have seen, as a fraction of an even share. It
# bounds the shifts.
FLOOR = 1e-2

DOUBT = 0.1  # a share that may be off by more than so much is no fact about a member


@dataclass(frozen=True, eq=False)
class ClassPool:
    """How K classifiers make one opinion.

    The last three fields are facts for reports. The pool does not use them.

    Attributes:
        seen: (K, C) float64, the shares of the classes in each member's training data; rows sum to
            1. (K, 1) ones if classes are not told apart.
        shares: (C,) float64, of the classes in the data that the pool is asked about.
        weights: (K,) float64, of each member as a whole.
        estimated: whether `seen` was estimated.
        errors: (K, C), the standard errors of an estimated `seen` by the chance of the examples.
        corrected: (K, C), the estimate of `seen` if each member were as sure as the others' answers
            bear out; NaN for one member alone.
        examples: how many examples `seen` was estimated from.
    """

    seen: Tensor
    shares: Tensor
    weights: Tensor
    estimated: bool = False
    errors: Tensor | None = None
    corrected: Tensor | None = None
    examples: int = 0

    @property
    def doubts(self) -> list[str]:
        """One sentence for each member whose estimated shares cannot be told.

        They depend on its confidence, or on the draw of examples.
        """
        if self.errors is None or self.corrected is None:
            return []
        found = []
        for k, (own, error, other) in enumerate(
            zip(self.seen, self.errors, self.corrected, strict=True)
        ):
            moved = (other - own).abs().nan_to_num(0.0) - 2 * error.nan_to_num(0.0)
            c = int(moved.argmax())
            if float(moved[c]) > DOUBT:
                told = f"{float(own[c]):.2f} of class {c} (standard error {float(error[c]):.2f})"
                found.append(
                    f"what member {k} saw of the classes cannot be told from its predictions:"
                    f" {told} would be {float(other[c]):.2f} if it were as sure of itself as the"
                    " other members bear out"
                )
            elif float(error.nan_to_num(0.0).max()) > DOUBT:
                c = int(error.argmax())
                found.append(
                    f"what member {k} saw of the classes cannot be told from {self.examples}"
                    f" examples: {float(own[c]):.2f} of class {c} has a standard error of"
                    f" {float(error[c]):.2f}"
                )
        return found

    def __repr__(self) -> str:
        members, classes = self.seen.shape
        source = f"estimated from {self.examples} examples" if self.estimated else "not estimated"
        return f"ClassPool({members} members, {classes} classes, {source})"

    def __str__(self) -> str:
        what = (
            f"estimated from predictions on {self.examples} examples"
            if self.estimated
            else "by counts"
        )
        lines = [f"shares of the classes that each member saw, {what}:"]
        for k, row in enumerate(self.seen.tolist()):
            errors = [float("nan")] * len(row) if self.errors is None else self.errors[k].tolist()
            cells = [
                f"{share:.2f}" + f" ± {error:.2f}" * (error == error)
                for share, error in zip(row, errors, strict=True)
            ]
            lines.append(f"member {k}: {', '.join(cells)}")
        if self.estimated and len(self.seen) == 1:
            lines.append(
                "note: there is no other member to check the confidence of this one by, on which"
                " its shares hang"
            )
        return "\n".join([*lines, *(f"note: {doubt}" for doubt in self.doubts)])

    @property
    def shifts(self) -> Tensor:
        """(K, C) the shifts that are added to the members' logits."""
        floor = FLOOR / self.seen.shape[1]
        return self.shares.log() - self.seen.clamp_min(floor).log()

    @property
    def parts(self) -> Tensor:
        """(K, C) the weights of the members' probabilities; those of a class sum to 1.

        For a class that no member of any weight saw they are the members' weights.
        """
        weighed = self.weights[:, None] * self.seen
        weighed = torch.where(weighed.sum(0) > 0, weighed, self.weights[:, None])
        return weighed / weighed.sum(0)

    def led_by(self, weights: Sequence[float]) -> ClassPool:
        """The same pool with every member's weight multiplied."""
        return replace(
            self,
            weights=self.weights * torch.tensor(list(weights), dtype=torch.float64, device="cpu"),
        )

    def log_part(self, logits: Tensor, member: int) -> Tensor:
        """The weighted log-probabilities log (w_k p_k) of one member's logits (..., C)."""
        shifted = logits + self.shifts[member].to(logits)
        return shifted.log_softmax(-1) + self.parts[member].log().to(logits)

    def combined(self, logits: Sequence[Tensor]) -> Tensor:
        """The unnormalised log-probabilities (..., C) of the pool.

        Args:
            logits: of every member (..., C), all of one shape.

        Raises:
            SettingError: the pool is of another number of members or classes.
        """
        if len(logits) != len(self.seen):
            raise SettingError(
                f"The pool is of {len(self.seen)} members but {len(logits)} answered; make one for"
                " these members."
            )
        if self.seen.shape[1] not in (1, logits[0].shape[-1]):
            raise SettingError(
                f"The pool is of {self.seen.shape[1]} classes but the members put out"
                f" {logits[0].shape[-1]}; make one for these members."
            )
        parts = [self.log_part(of_member, k) for k, of_member in enumerate(logits)]
        return torch.logsumexp(torch.stack(parts), 0)

    def only(self, member: int) -> ClassPool:
        """One member by itself, shifted to the classes of the data."""
        own = slice(member, member + 1)
        return replace(
            self,
            seen=self.seen[own],
            weights=torch.ones(1, dtype=torch.float64, device="cpu"),
            errors=None if self.errors is None else self.errors[own],
            corrected=None if self.corrected is None else self.corrected[own],
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClassPool:
        """The inverse of `to_dict`."""
        seen, shares, weights = (
            torch.tensor(data[name], dtype=torch.float64, device="cpu")
            for name in ("seen", "shares", "weights")
        )
        errors, corrected = (_tensor(data.get(name)) for name in ("errors", "corrected"))
        return cls(
            seen, shares, weights, data["estimated"], errors, corrected, data.get("examples", 0)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = {
            "seen": self.seen.tolist(),
            "shares": self.shares.tolist(),
            "weights": self.weights.tolist(),
            "estimated": self.estimated,
        }
        if self.errors is None or self.corrected is None:
            return plain
        return plain | {
            "errors": _plain(self.errors),
            "corrected": _plain(self.corrected),
            "examples": self.examples,
            "doubts": self.doubts,
        }


def _plain(table: Tensor) -> list[list[float | None]]:
    """Rows for JSON, which has no NaN."""
    return [[value if value == value else None for value in row] for row in table.tolist()]


def _tensor(rows: Sequence[Sequence[float | None]] | None) -> Tensor | None:
    if rows is None:
        return None
    return torch.tensor(
        [[float("nan") if value is None else value for value in row] for row in rows],
        dtype=torch.float64,
        device="cpu",
    )


def mean_pool(weights: Sequence[float]) -> ClassPool:
    """The weighted mean of the members' probabilities, of any number of classes."""
    even = torch.ones(len(weights), 1, dtype=torch.float64, device="cpu")
    return ClassPool(even, even[0], torch.tensor(list(weights), dtype=torch.float64, device="cpu"))
