"""The fold "auto", which is the default: never less than what one had, beyond noise.

How the members relate is told first (`comparison/rule.py`), from their weights and their
predictions on the data. Then:

- With labels, the candidates of `candidates.py` are scored on labelled examples that no fold has
  read. The best member by these labels is the result unless a candidate is above it by more than a
  standard error (`choosing.py`).
- Without labels, members that share an origin are averaged as they are. Of members that know
  different classes the candidates are judged by their own opinion (`expected.py`), on examples that
  no fold has read. Of members that know the same, and of outputs that are no classes, the member
  that agrees most with the ensemble is the result, unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from onefold.arguments import check_fields
from onefold.batches import Data
from onefold.comparison import Evidence, Relation
from onefold.comparison.predictions import EXAMPLES
from onefold.ensemble.class_shares import EVEN
from onefold.ensemble.names import EnsembleName, check_ensemble
from onefold.ensemble.pool import ClassPool
from onefold.errors import Note
from onefold.finite import finite
from onefold.fold.average import folds
from onefold.fold.candidates import ALIGNED, Candidate, aim, as_member, candidates, name_of_member
from onefold.fold.choosing import Choice, choose
from onefold.fold.expected import expected_gain, expected_hits
from onefold.fold.held_out import last_part, scored
from onefold.fold.least_squares import LeastSquares
from onefold.fold.network_fold import Folded, FoldJob, NetworkFold
from onefold.fold.reasons import losses
from onefold.measure.paired import difference

# The default in words, for the help and the documents.
IN_WORDS = "one of the members, unless an average or a fold is above it beyond noise"


def most_cost(members: int) -> str:
    """The end of a sentence: the most that the fold computes, of so many members."""
    return (
        f"; that runs {members} networks on up to {EXAMPLES:,} examples, and if there are"
        " labels, or if the networks know different classes, costs up to one alignment, two"
        f" least-squares solves and the scores of {2 * members + 4} networks more"
    )


@folds.register("auto")
@dataclass(frozen=True)
class Auto(NetworkFold):
    """One of the members, unless an average or a fold is above it beyond noise.

    With labels that is the best member, without labels the one that is nearest to the ensemble.

    Attributes:
        rows: sampled positions of a layer's output over all examples, for least squares.
        ridge: lambda of least squares, relative to the mean variance of the inputs. None chooses it
            for each layer on the last 15 % of the examples.
        ensemble: what least squares aims at, as in `LeastSquares`. None: the class pool if the
            members know different classes, else the mean of their probabilities, and of their
            outputs if these are no scores of classes.

    Raises:
        SettingError: as `LeastSquares`.
    """

    rows: int = 20000
    ridge: float | None = None
    ensemble: EnsembleName | ClassPool | None = None

    labelled: ClassVar[bool] = True
    traced: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.ensemble is not None:
            check_ensemble(self.ensemble)
        LeastSquares(rows=self.rows, ridge=self.ridge)

    def fold(self, job: FoldJob) -> Folded:
        """The chosen network.

        Its details hold the choice, what it was compared with, and what was measured.

        Args:
            job: with its evidence, and with batches to choose by if there are labels
                (`default.py`).
        """
        evidence = job.evidence
        assert evidence is not None
        if job.validation is not None:
            return self._by_labels(job, evidence, job.validation)
        if evidence.relation is Relation.DIFFERENT:
            return self._by_pool(job, evidence)
        if evidence.relation is Relation.ORIGIN:
            state = job.average(job.shares)
            return taken(Folded(state, repair=True), evidence, "average", "")
        k = evidence.knowledge.nearest
        why = "of the members it is the nearest to their ensemble"
        return taken(as_member(job, k).folded, evidence, name_of_member(k), why)

    def _by_labels(self, job: FoldJob, evidence: Evidence, validation: Data) -> Folded:
        """The choice by scores on labelled examples."""
        alone = scored(job.models, validation, job.output, job.scoring)
        best = max(range(len(alone)), key=lambda k: alone[k].rank)
        baseline = name_of_member(best)
        contest = self._contest(job, evidence, best)
        scores = {
            name: scored([network], validation, job.output, job.scoring)[0]
            for name, network in contest.networks.items()
        }
        choice = choose(list(scores), baseline, lambda a, b: difference(scores[a], scores[b]))
        count = scores[baseline].n
        details = {
            "scored by": scores[baseline].by,
            "scores": {name: finite(of_one.primary) for name, of_one in scores.items()},
            "members": [finite(of_one.primary) for of_one in alone],
            "loss": losses(scores),
            "validation examples": count,
        }
        reason = choice.reason(f"{count} labelled examples that no fold read")
        return contest.won(choice, evidence, reason, details)

    def _by_pool(self, job: FoldJob, evidence: Evidence) -> Folded:
        """The choice by the opinion of the members' class pool and of their mean."""
        assert evidence.pool is not None
        assert job.data is not None
        data, judged = last_part(job.data)
        unread = "that no fold read" if data is not judged else "that the folds read, too"
        own = {name_of_member(k): job.models[k] for k in range(len(job.models))}
        alone = expected_hits(job.models, own, evidence.pool, judged, job.output)
        baseline = max(alone, key=lambda name: float(alone[name].mean()))
        best = list(own).index(baseline)
        contest = self._contest(dataclasses.replace(job, data=data), evidence, best)
        contest.notes.append(Note(EVEN))
        hits = expected_hits(job.models, contest.networks, evidence.pool, judged, job.output)
        choice = choose(list(hits), baseline, lambda a, b: expected_gain(hits[a], hits[b]))
        count = len(hits[baseline])
        details = {
            "expected accuracy": {name: float(of_one.mean()) for name, of_one in hits.items()},
            "members": [float(of_one.mean()) for of_one in alone.values()],
            "examples judged": count,
        }
        reason = choice.reason(
            f"{count} unlabelled examples {unread}, judged by the members' own opinion,"
        )
        return contest.won(choice, evidence, reason, details)

    def _contest(self, job: FoldJob, evidence: Evidence, best: int) -> Contest:
        """The best member and all candidates."""
        aimed = aim(evidence, self.ensemble)
        fold = LeastSquares(rows=self.rows, ridge=self.ridge, ensemble=aimed)
        notes: list[str] = []
        found = {name_of_member(best): as_member(job, best)}
        found |= candidates(job, evidence, best, fold, notes)
        return Contest(found, notes)


@dataclass(frozen=True, eq=False)
class Contest:
    """Candidates by name, the best member first, and notes on those that could not be had."""

    found: Mapping[str, Candidate]
    notes: list[str]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by name."""
        return {name: one.network for name, one in self.found.items()}

    def won(
        self, choice: Choice, evidence: Evidence, reason: str, details: Mapping[str, Any]
    ) -> Folded:
        """The result of a choice, told in full."""
        folded = taken(self.found[choice.name].folded, evidence, choice.name, reason)
        facts = {
            "baseline": choice.baseline,
            "gains": {name: gain.to_dict() for name, gain in choice.gains.items()},
            **details,
        }
        return dataclasses.replace(
            folded, details={**folded.details, **facts}, warnings=[*folded.warnings, *self.notes]
        )


def taken(folded: Folded, evidence: Evidence, name: str, reason: str) -> Folded:
    """A result with the words for what was taken, why, and what it would take to gain."""
    kept = name.startswith("member ") and "," not in name
    what = f"{name}, unchanged" if kept else name
    why = [f"{text[0].upper()}{text[1:]}." for text in (evidence.finding, reason) if text]
    sentences = (f"The default took {what}.", *why, to_gain(evidence, kept=kept))
    details = {**folded.details, "choice": name, "evidence": evidence.to_dict()}
    aligned = name == ALIGNED
    return dataclasses.replace(folded, details=details, aligned=aligned, chosen=sentences)


# The least budget at which a fold was above the best member (docs/evidence/budgets.md).
GAINED = "1.5x"


def to_gain(evidence: Evidence, *, kept: bool) -> str:
    """One sentence: what it would take to gain more."""
    count = evidence.members
    ways = [f"keep the ensemble at {count} times the cost", "distill it into the result (polish)"]
    if evidence.relation is Relation.DIFFERENT:
        ways.insert(
            1,
            f"fold to {GAINED} the multiply-adds, where wide networks gained"
            f" (fold=onefold.LeastSquares(budget='{GAINED}'))",
        )
    if evidence.relation is Relation.SAME and kept:
        ways.append(
            "or, if the members saw other examples of the same classes, name a fold and compare it"
            " by labels"
        )
    else:
        ways[-1] = f"or {ways[-1]}"
    return f"To gain more: {', '.join(ways)}."
