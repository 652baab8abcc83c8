"""Whether the repair of an average without alignment is kept.

Such an average is repaired by default. On 119 random groups of small networks that was 2.3 points
better on average and cost more than a point in four of them, 6.6 points at most: there members
shared no origin and knew different classes (`benchmarks/folding/unaligned_repair.py`). No measure
without labels told these groups from the others: neither the distance of the outputs to the mean of
the members' outputs nor the agreement with their ensemble. So labels decide where they are given:

    p, r = the average before and behind repair, on the same labelled examples
    p is taken if it leads: score_p is above score_r by more than a paired standard error.

A tie keeps the repair, as it helped more often than not.
"""

from __future__ import annotations

from onefold.errors import Note
from onefold.measure.paired import Difference

HELD = (
    "the average of members that were not aligned was repaired, which mostly helps but may cost"
    " where they share no origin; labelled `validation` lets labels decide, repair='none' leaves it"
)


def prefers_plain(gain: Difference) -> bool:
    """Whether the network before repair is taken.

    Args:
        gain: its scores less those of the repaired network, on the same examples.
    """
    return gain.leads


def told(gain: Difference) -> Note:
    """One sentence: what was decided, and by which examples.

    Args:
        gain: as of `prefers_plain`.
    """
    if prefers_plain(gain):
        return Note(
            "the average of members that were not aligned was not repaired, as without repair it is"
            f" above on the {gain.n} validation examples by more than a standard error ({gain})"
        )
    return Note(
        "the average of members that were not aligned was repaired, as without repair it is not"
        f" above on the {gain.n} validation examples by more than a standard error ({gain})"
    )


__all__ = ["HELD", "prefers_plain", "told"]
