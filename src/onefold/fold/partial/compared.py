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
from onefold.fold.held_out import has_labels, rank, scored
from onefold.fold.partial.module import PartialMerge
from onefold.inference import OutputChoice
from onefold.measure.paired import Difference, difference

WHOLE, CUT = "folded whole", "cut"


@dataclass(frozen=True)
class Compared:
    """The accuracies of a partial merge and of what it is compared with.

    Attributes:
        examples: how many labelled examples there were.
        source: where they are from, in words.
        accuracy: of "member k", "folded whole" and "cut", fractions of 1.
        best: the name of the best member.
        gains: the cut's paired differences to the best member and to the whole fold, by name.
        notes: sentences for the user.
    """

    examples: int
    source: str
    accuracy: dict[str, float]
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
) -> Compared | str:
    """Compare a partial merge on `validation`, or else on the labels of the data.

    Args:
        models: the members.
        whole: the same networks, folded whole.
        partial: the partial merge.
        data: calibration batches.
        validation: labelled batches, if there are any besides.
        output: which output is meant.

    Returns:
        The comparison; "" if there are no labels or if the members answer one by one; the reason
        in words if the labels cannot be scored.
    """
    if partial.outputs == "members" or not has_labels(data, validation):
        return ""
    judged = data if validation is None else validation
    source = "the calibration data" if validation is None else "the validation data"
    try:
        members = scored(models, judged, output)
        folded, cut = scored([whole, partial], judged, output)
    except DataError as error:
        return f"the cut was not compared with the members and the whole fold: {error}"
    best = max(range(len(members)), key=lambda k: rank(members[k]))
    name = f"member {best}"
    gains = {name: difference(cut, members[best]), WHOLE: difference(cut, folded)}
    worse = {name: difference(members[best], cut), WHOLE: difference(folded, cut)}
    accuracy = {f"member {k}": score.accuracy for k, score in enumerate(members)}
    accuracy |= {WHOLE: folded.accuracy, CUT: cut.accuracy}
    return Compared(
        cut.n,
        source,
        accuracy,
        name,
        {key: gain.to_dict() for key, gain in gains.items()},
        _notes(partial.until, cut.n, source, accuracy, gains, worse),
    )


def _notes(
    until: str,
    examples: int,
    source: str,
    accuracy: dict[str, float],
    gains: dict[str, Difference],
    worse: dict[str, Difference],
) -> list[str]:
    """What the comparison says: the figures, and whether the cut is worth its price."""
    told = "; ".join(
        f"{name} {100 * accuracy[name]:.2f} % ({gain})" for name, gain in gains.items()
    )
    found: list[str] = [
        Note(
            f"on {examples} labelled examples of {source} the networks cut behind '{until}' have"
            f" {100 * accuracy[CUT]:.2f} %, with what they gain on each: {told}"
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
