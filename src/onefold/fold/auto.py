"""Choose among the folds by labels held out; without labels take the one that did best where there
were labels.

With labels: the best member, the average (repaired), and least squares in the ways of WAYS are
scored on labelled batches that none was folded on, and the best is taken, on a tie the one of lower
loss; the note says which others chance may have decided against. Without: least squares with its
defaults. Agreement with the members' ensemble is no substitute for labels: a fold may lie nearer to
the ensemble and be right less often.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from onefold.batches import Data
from onefold.ensemble.names import EnsembleName
from onefold.fold.average import folds
from onefold.fold.held_out import held_out, rank, scored
from onefold.fold.least_squares import LeastSquares
from onefold.fold.network_fold import Folded, FoldJob, NetworkFold
from onefold.fold.reasons import losses, not_clearly_worse, reason
from onefold.measure.scores import Scores

ANCHOR = 0.7  # the weight of the best member where it leads
WAYS: dict[
    str, tuple[str, EnsembleName, bool]
] = {  # target, what the outputs aim at, whether the best member leads
    "correlation": ("correlation", "logits", False),
    "pruning": ("pruning", "logits", False),
    "pruning, probabilities": ("pruning", "probabilities", False),
    "pruning, classes": ("pruning", "classes", False),
    "pruning, probabilities, best member first": ("pruning", "probabilities", True),
}


@folds.register("auto")
@dataclass(frozen=True)
class Auto(NetworkFold):
    """The best of average, least squares and the best member by held-out labels; least squares
    where there are no labels.

    rows, ridge: of least squares.
    """

    rows: int = 20000
    ridge: float | None = None

    labelled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        LeastSquares(rows=self.rows, ridge=self.ridge)  # checks them

    def fold(self, job: FoldJob) -> Folded:
        """The fold that was chosen, with the scores of all in its details and the reason in its
        notes.
        """
        data, validation = held_out(job.data, job.validation)
        if validation is None:
            fold = LeastSquares(rows=self.rows, ridge=self.ridge)
            done = fold.fold(job)
            note = "auto took least squares, as there are no labels to choose by"
            return dataclasses.replace(
                done,
                details={"choice": f"least_squares, {fold.target}", **done.details},
                warnings=[*done.warnings, note],
            )
        alone = scored(job.models, validation, job.output)
        best = max(range(len(alone)), key=lambda k: rank(alone[k]))
        member = Folded(job.models[best].state_dict(), repair=False, based=False)
        found = {
            f"member {best}": (
                self._tried(job, lambda: member, validation)
                if job.always
                else (member, alone[best])
            )
        }
        found["average"] = self._tried(
            job, lambda: Folded(job.average(job.shares), repair=True), validation
        )
        for way, (target, ensemble, leads) in WAYS.items():
            fold = LeastSquares(target=target, ensemble=ensemble, rows=self.rows, ridge=self.ridge)
            shares = led_by(best, job.shares) if leads else job.shares
            own = dataclasses.replace(job, data=data, shares=shares)
            found[f"least_squares, {way}"] = self._tried(
                job,
                lambda f=fold, o=own: f.fold(o),  # type: ignore[misc]
                validation,
            )
        choice = max(found, key=lambda name: rank(found[name][1]))
        done, score = found[choice]
        scores = {name: one for name, (_, one) in found.items()}
        details = {
            "choice": choice,
            "accuracy": {name: one.accuracy for name, one in scores.items()},
            "loss": losses(scores),
            "not clearly different": not_clearly_worse(choice, scores),
            "validation examples": score.n,
            **done.details,
        }
        return dataclasses.replace(
            done,
            details=details,
            warnings=[*done.warnings, f"auto took {choice}: {reason(choice, scores)}"],
        )

    def _tried(
        self, job: FoldJob, make: Callable[[], Folded], validation: Data
    ) -> tuple[Folded, Scores]:
        """A candidate, and its scores as it would be returned: repaired, if it is to be."""
        done = make()
        network = (
            job.repaired(done.state, done.based)
            if done.repair or job.always
            else job.plain(done.state)
        )
        return done, scored([network], validation, job.output)[0]


def led_by(best: int, shares: Sequence[float]) -> tuple[float, ...]:
    """The shares with the best member's raised to ANCHOR, if it is lower."""
    own = max(ANCHOR, shares[best])
    rest = sum(shares) - shares[best]
    return tuple(
        own if k == best else share * (1 - own) / rest if rest > 0 else 0.0
        for k, share in enumerate(shares)
    )
