"""Soups: averages of aligned members, all of them, or as many as help.

    greedy   sort the members by their held-out score; S = {best};
             for the next member k: S + {k} if average(S + {k}) leads average(S)

The score is that which decides in the task, and on a tie the loss. A trial leads if it is above by
more than a paired standard error (`measure/paired.py`), in score, or in loss while its score is not
below by as much. What is level stays out: a soup of fewer members is the simpler one, and in a
sequence of trials that chance decides the one of most luck is kept. The original adds what is
level, too.

Wortsman, Ilharco, Gadre et al. 2022, "Model soups: averaging weights of multiple fine-tuned models
improves accuracy without increasing inference time" (arXiv 2203.05482). The ingredients there are
fine-tunes of one network. Here they are aligned members, and every trial is repaired before it is
scored, as the result will be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from onefold.finite import finite
from onefold.fold.average import folds
from onefold.fold.held_out import check_labels, held_out, scored
from onefold.fold.network_fold import Folded, FoldJob, NetworkFold
from onefold.fold.reasons import soup_note
from onefold.measure.paired import ONE_ERROR, Difference, difference


@folds.register("soup")
@dataclass(frozen=True)
class UniformSoup(NetworkFold):
    """The mean of all aligned members with equal weights, whatever their shares."""

    traced: ClassVar[bool] = False

    def fold(self, job: FoldJob) -> Folded:
        """The mean, to be repaired as any average."""
        count = len(job.models)
        return Folded(
            job.average([1 / count] * count),
            repair=True,
            details={"ingredients": list(range(count))},
        )


@folds.register("greedy_soup")
@dataclass(frozen=True)
class GreedySoup(NetworkFold):
    """The mean of the best members, each added if the held-out score gets better by that.

    Members are added in the order of their own score on labelled held-out data.
    """

    labelled: ClassVar[bool] = True
    traced: ClassVar[bool] = False

    def fold(self, job: FoldJob) -> Folded:
        """The average of the chosen members; of one alone, that member.

        Raises:
            DataError: there are no labels.
        """
        _, validation = held_out(job.data, job.validation)
        validation = check_labels(validation, "greedy_soup")
        alone = scored(job.models, validation, job.output, job.scoring)
        order = sorted(range(len(alone)), key=lambda k: alone[k].rank, reverse=True)
        chosen, best = [order[0]], alone[order[0]]
        if job.always:  # the networks that are compared are those that would be returned
            first = job.repaired(job.models[order[0]].state_dict(), False)
            best = scored([first], validation, job.output, job.scoring)[0]
        trials: list[dict[str, Any]] = []
        for k in order[1:]:
            trial = job.repaired(job.average(_equal([*chosen, k], len(alone))), True)
            score = scored([trial], validation, job.output, job.scoring)[0]
            step = difference(score, best)
            better = improves(step)
            trials.append(
                {
                    "member": k,
                    "score": finite(score.primary),
                    "loss": finite(score.loss),
                    "kept": better,
                    "difference": step.gain,
                    "standard error": step.error,
                    "loss difference": finite(step.loss),
                    "loss standard error": finite(step.loss_error),
                    "clear": step.clear,
                }
            )
            if better:
                chosen, best = [*chosen, k], score
        details = {
            "ingredients": chosen,
            "scored by": best.by,
            "members": [finite(s.primary) for s in alone],
            "trials": trials,
            "validation examples": best.n,
        }
        notes = [soup_note(chosen, trials, best.n)]
        if len(chosen) == 1:
            return Folded(
                job.models[chosen[0]].state_dict(),
                repair=False,
                details=details,
                warnings=notes,
                based=False,
            )
        return Folded(
            job.average(_equal(chosen, len(alone))), repair=True, details=details, warnings=notes
        )


def improves(step: Difference) -> bool:
    """Whether a trial leads, by more than one paired standard error.

    Args:
        step: its scores less those of the soup before it.
    """
    if step.gain and step.p <= ONE_ERROR:
        return step.gain > 0
    error = step.loss_error
    return math.isfinite(error) and step.loss < -error


def _equal(chosen: Sequence[int], members: int) -> list[float]:
    return [1 / len(chosen) if k in chosen else 0.0 for k in range(members)]
