"""The fold "auto": the best of several folds by held-out labels.

With labels, the best member, the average (repaired) and the variants of least squares in WAYS are
scored on labelled batches that no fold has read. The best member is the result unless a fold is
above it by more than a standard error (choosing.py). Without labels it is
least squares with its defaults, which was best in our studies with labels. Agreement with the
members' ensemble is no substitute for labels: a fold may be nearer to the ensemble and be right
less often.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onefold.arguments import check_fields
from onefold.batches import Data
from onefold.ensemble.names import EnsembleName
from onefold.errors import Note
from onefold.fold.average import folds
from onefold.fold.choosing import choose
from onefold.fold.held_out import held_out, rank, scored
from onefold.fold.least_squares import LeastSquares
from onefold.fold.network_fold import Folded, FoldJob, NetworkFold
from onefold.fold.reasons import losses, not_clearly_worse
from onefold.measure.scores import Scores

ANCHOR = 0.7  # the weight of the best member in variants that it leads
# the variant -> its target, the ensemble of its outputs, whether the best member leads
WAYS: dict[str, tuple[str, EnsembleName, bool]] = {
    "correlation": ("correlation", "logits", False),
    "pruning": ("pruning", "logits", False),
    "pruning, probabilities": ("pruning", "probabilities", False),
    "pruning, classes": ("pruning", "classes", False),
    "pruning, probabilities, best member first": ("pruning", "probabilities", True),
}


@folds.register("auto")
@dataclass(frozen=True)
class Auto(NetworkFold):
    """The best of average, least squares and the best member by held-out labels.

    Without labels it is least squares.

    Attributes:
        rows: sampled positions of a layer's output over all examples, for least squares.
        ridge: lambda of least squares, relative to the mean variance of the inputs. None chooses it
            for each layer on the last 15 % of the examples.
    """

    rows: int = 20000
    ridge: float | None = None

    labelled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            SettingError: as `LeastSquares`.
        """
        check_fields(self)
        LeastSquares(rows=self.rows, ridge=self.ridge)

    def fold(self, job: FoldJob) -> Folded:
        """The result of the chosen fold.

        Its details hold the scores of all candidates, its notes the reason of the choice.
        """
        data, validation = held_out(job.data, job.validation)
        if validation is None:
            fold = LeastSquares(rows=self.rows, ridge=self.ridge)
            done = fold.fold(job)
            note = Note("auto took least squares, as there are no labels to choose by")
            return dataclasses.replace(
                done,
                details={"choice": f"least_squares, {fold.target}", **done.details},
                warnings=[*done.warnings, note],
            )
        alone = scored(job.models, validation, job.output)
        best = max(range(len(alone)), key=lambda k: rank(alone[k]))
        member = Folded(job.models[best].state_dict(), repair=False, based=False)
        tried: dict[str, tuple[Folded, Scores]] = {f"member {best}": (member, alone[best])}
        if job.always:  # the member will be repaired, so that its scores change
            tried[f"member {best}"] = self._tried(job, member, validation)
        average = Folded(job.average(job.shares), repair=True)
        tried["average"] = self._tried(job, average, validation)
        for way, (target, ensemble, leads) in WAYS.items():
            fold = LeastSquares(target=target, ensemble=ensemble, rows=self.rows, ridge=self.ridge)
            shares = led_by(best, job.shares) if leads else job.shares
            folded = fold.fold(dataclasses.replace(job, data=data, shares=shares))
            tried[f"least_squares, {way}"] = self._tried(job, folded, validation)
        scores = {name: of_fold for name, (_, of_fold) in tried.items()}
        choice = choose(scores, f"member {best}")
        done, score = tried[choice.name]
        details = {
            "choice": choice.name,
            "baseline": choice.baseline,
            "gains": {name: gain.to_dict() for name, gain in choice.gains.items()},
            "accuracy": {name: of_fold.accuracy for name, of_fold in scores.items()},
            "loss": losses(scores),
            "not clearly different": not_clearly_worse(choice.name, scores),
            "validation examples": score.n,
            **done.details,
        }
        return dataclasses.replace(
            done,
            details=details,
            warnings=[*done.warnings, Note(f"auto took {choice.name}: {choice.reason(scores)}")],
        )

    def _tried(self, job: FoldJob, candidate: Folded, validation: Data) -> tuple[Folded, Scores]:
        """A candidate and the scores of its network, repaired if the merge will repair it."""
        if candidate.repair or job.always:
            network = job.repaired(candidate.state, candidate.based)
        else:
            network = job.plain(candidate.state)
        return candidate, scored([network], validation, job.output)[0]


def led_by(best: int, shares: Sequence[float]) -> tuple[float, ...]:
    """The shares with the best member's raised to ANCHOR, if it is lower."""
    leading = max(ANCHOR, shares[best])
    rest = sum(shares) - shares[best]
    led = [share * (1 - leading) / rest if rest > 0 else 0.0 for share in shares]
    led[best] = leading
    return tuple(led)
