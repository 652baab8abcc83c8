"""The choice between the best member and folds by held-out labels: no fold without a gain.

    g_f = accuracy of fold f - accuracy of the best member
    p_f = probability of a difference as large if neither is better, example by example

A fold is eligible if g_f > 0 and p_f is at most that of one standard error, 0.32. Of a few answers
the binomial distribution gives p_f: one answer gained and none lost is a standard error, and says
nothing. The first fold in the order of cost is taken that is not as clearly below the highest
eligible one. If none is eligible, the best member is the result, unchanged.

A plain maximum over many candidates takes what chance favored: on networks that had been trained
out on the same data, it took a fold over a better member on every group that it was tried on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onefold.fold.held_out import rank
from onefold.measure.paired import Difference, difference
from onefold.measure.scores import Scores


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
    gains: Mapping[str, Difference]

    @property
    def eligible(self) -> list[str]:
        """The candidates that are above the baseline by more than a standard error."""
        return [name for name, gain in self.gains.items() if gain.leads]

    def reason(self, scores: Mapping[str, Scores]) -> str:
        """One clause: what decided, in figures.

        Args:
            scores: of all candidates, by name.
        """
        examples = scores[self.baseline].n
        if self.name != self.baseline:
            others = [name for name in self.eligible if name != self.name]
            rest = f", as are {', '.join(others)}" if others else ""
            rest = rest.replace(", as are", ", as is") if len(others) == 1 else rest
            return (
                f"on {examples} held-out examples it is above {self.baseline}, the best member, by"
                f" more than a standard error ({self.gains[self.name]}){rest}"
            )
        if not self.gains:
            return "there is no other candidate"
        near = max(self.gains, key=lambda name: self.gains[name].gain)
        return (
            f"on {examples} held-out examples none of {len(self.gains)} folds is above it by more"
            f" than a standard error (the nearest, {near}: {self.gains[near]})"
        )


def choose(scores: Mapping[str, Scores], baseline: str) -> Choice:
    """The candidate to take.

    Args:
        scores: of all candidates on the same examples, by name, the cheapest first.
        baseline: the best member's name.
    """
    gains = {
        name: difference(score, scores[baseline])
        for name, score in scores.items()
        if name != baseline
    }
    eligible = [name for name in gains if gains[name].leads]
    if not eligible:
        return Choice(baseline, baseline, gains)
    best = max(eligible, key=lambda name: rank(scores[name]))
    level = (name for name in eligible if not difference(scores[best], scores[name]).leads)
    return Choice(next(level, best), baseline, gains)
