"""The choice between the best member and other candidates: nothing is taken without a gain.

    g_f = score of candidate f - score of the best member, example by example

A candidate is eligible if g_f leads: it is above 0, and chance gives as much as rarely as a
standard error. By labels that is the two-sided probability of 0.32 under the binomial distribution
(`measure/paired.py`), by which one answer gained and none lost says nothing; without labels it is
the error of expected accuracies (`expected.py`). The first candidate in the order of cost is taken
that is not as clearly below the highest eligible one. If none is eligible, the best member is the
result, unchanged.

A plain maximum over many candidates takes what chance favored: on networks that had been trained
out on the same data, it took a fold over a better member on every group that it was tried on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Gain(Protocol):
    """A paired difference of two candidates."""

    @property
    def gain(self) -> float:
        """The first's score less the second's, a fraction of 1."""

    @property
    def leads(self) -> bool:
        """Whether it is above 0 by more than chance gives by a standard error."""

    @property
    def n(self) -> int:
        """How many examples were compared."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""


Compare = Callable[[str, str], Gain]


@dataclass(frozen=True)
class Choice:
    """What was taken, and why.

    Attributes:
        name: the candidate that was taken.
        baseline: the candidate that every other must beat.
        gains: candidate -> its paired difference to the baseline, without the baseline's own.
    """

    name: str
    baseline: str
    gains: Mapping[str, Gain]

    @property
    def eligible(self) -> list[str]:
        """The candidates that are above the baseline by more than a standard error."""
        return [name for name, gain in self.gains.items() if gain.leads]

    def reason(self, examples: str) -> str:
        """One clause: what decided, in figures.

        Args:
            examples: which examples decided, as words behind "on".
        """
        if self.name != self.baseline:
            others = [name for name in self.eligible if name != self.name]
            rest = f", as are {', '.join(others)}" if others else ""
            rest = rest.replace(", as are", ", as is") if len(others) == 1 else rest
            return (
                f"on {examples} it is above {self.baseline}, the best member, by more than a"
                f" standard error ({self.gains[self.name]}){rest}"
            )
        if not self.gains:
            return "there is no other candidate"
        near = max(self.gains, key=lambda name: self.gains[name].gain)
        return (
            f"on {examples} none of {len(self.gains)} candidates is above it by more than a"
            f" standard error (the nearest, {near}: {self.gains[near]})"
        )


def choose(names: Sequence[str], baseline: str, compare: Compare) -> Choice:
    """The candidate to take.

    Args:
        names: all candidates, the cheapest first.
        baseline: the best member's name, one of them.
        compare: gives the first's paired difference to the second.
    """
    gains = {name: compare(name, baseline) for name in names if name != baseline}
    eligible = [name for name in gains if gains[name].leads]
    if not eligible:
        return Choice(baseline, baseline, gains)
    best = max(eligible, key=lambda name: gains[name].gain)
    level = (name for name in eligible if not compare(best, name).leads)
    return Choice(next(level, best), baseline, gains)
