"""A partial merge on labelled examples, beside the members and the same networks folded whole.

More layers of one's own need not be better. Heads read a trunk that is the mean of all members, and
each of them may be further from what it was trained to read than the whole fold is from its own
features. The whole fold is there anyway, as the trunk is cut out of it. All are scored on the same
examples and compared example by example (`measure/paired.py`). A difference below one standard
error is none. A cut that is level with the whole fold or with a member costs more for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from onefold.batches import Data
from onefold.errors import DataError, Note
from onefold.finite import finite
from onefold.fold.held_out import has_labels, scored
from onefold.fold.partial.module import PartialMerge
from onefold.inference import OutputChoice
from onefold.measure.paired import Difference, difference
from onefold.tasks import Scores, Scoring

WHOLE, CUT = "folded whole", "cut"


@dataclass(frozen=True)
class Compared:
    """The scores of a partial merge and of what it is compared with.

    Attributes:
        examples: how many labelled examples there were.
        source: where they are from, in words.
        scored_by: the name of the score.
        scores: of "member k", "folded whole" and "cut"; shares are fractions of 1.
        best: the name of the best member.
        gains: the cut's paired differences to the best member and to the whole fold, by name.
        notes: sentences for the user.
    """

    examples: int
    source: str
    scored_by: str
    scores: dict[str, float]
    best: str
    gains: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def compare(
    models: Sequence[nn.Module],
    whole: nn.Module,
    partial: PartialMerge,
    data: Data,
    validation: Data | None,
    output: OutputChoice,
    scoring: Scoring | None = None,
) -> Compared | str:
    """Compare a partial merge on `validation`, or else on the labels of the data.

    Args:
        models: the members.
        whole: the same networks, folded whole.
        partial: the partial merge.
        data: calibration batches.
        validation: labelled batches, if there are any besides.
        output: which output is meant.
        scoring: the task and the score that decides; None: told from the labels.

    Returns:
        The comparison; "" if there are no labels or if the members answer one by one; the reason
        in words if the labels cannot be scored.
    """
    if partial.outputs == "members" or not has_labels(data, validation):
        return ""
    judged = data if validation is None else validation
    source = "the calibration data" if validation is None else "the validation data"
    try:
        members = scored(models, judged, output, scoring)
        folded, cut = scored([whole, partial], judged, output, scoring)
    except DataError as error:
        return f"the cut was not compared with the members and the whole fold: {error}"
    best = max(range(len(members)), key=lambda k: members[k].rank)
    name = f"member {best}"
    gains = {name: difference(cut, members[best]), WHOLE: difference(cut, folded)}
    worse = {name: difference(members[best], cut), WHOLE: difference(folded, cut)}
    found = {f"member {k}": score for k, score in enumerate(members)}
    found |= {WHOLE: folded, CUT: cut}
    return Compared(
        cut.n,
        source,
        cut.by,
        {key: finite(score.primary) for key, score in found.items()},
        name,
        {key: gain.to_dict() for key, gain in gains.items()},
        _notes(partial.until, source, found, gains, worse),
    )


def _notes(
    until: str,
    source: str,
    scores: dict[str, Scores],
    gains: dict[str, Difference],
    worse: dict[str, Difference],
) -> list[str]:
    """What the comparison says: the figures, and whether the cut is worth its price."""
    kind, cut = scores[CUT].kind, scores[CUT]
    told = "; ".join(
        f"{name} {kind.shown(scores[name].primary)} ({gain})" for name, gain in gains.items()
    )
    found: list[str] = [
        Note(
            f"on {cut.n} labelled examples of {source} the networks cut behind '{until}' have"
            f" {kind.shown(cut.primary)}, with what they gain on each: {told}"
        )
    ]
    below = [name for name, loss in worse.items() if loss.leads]
    if below:
        found.append(
            f"the cut behind '{until}' is worse than {' and '.join(below)} by more than a standard"
            " error, and costs more; cut elsewhere, or take the better one"
        )
    level = [name for name, gain in gains.items() if not gain.leads and name not in below]
    if level:
        found.append(
            Note(
                f"the cut behind '{until}' is level with {' and '.join(level)} within a standard"
                " error, which costs less"
            )
        )
    return found


__all__ = ["CUT", "WHOLE", "Compared", "compare"]
