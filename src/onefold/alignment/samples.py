"""How many samples a map needs: two, or more than there are features if a matcher inverts.

Permutations come from correlations, for which two samples are enough; the identity is scored by
them, too. A dense map comes from whole covariances of a group's features. With no more samples than
features these are singular, and the map is arbitrary in the directions that the data never showed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onefold.alignment.matchers import Matcher
from onefold.alignment.moments import Moments
from onefold.errors import DataError
from onefold.symmetry.axes import Group

LEAST = 2


def check_least(name: str, width: int, moments: Moments) -> None:
    """Refuse moments of fewer samples than any correlation needs.

    Raises:
        DataError: as said.
    """
    if moments.count < LEAST:
        raise DataError(
            f"Group {name} has {width} features but the calibration data gave only {moments.count}"
            f" samples; pass enough examples for at least {LEAST} samples (positions of a"
            " convolution count as samples)."
        )


def check_rank(
    groups: Mapping[str, Group],
    moments: Mapping[str, Moments],
    serving: Callable[[Group], Matcher | None],
) -> None:
    """Refuse the first group whose matcher inverts and has too few samples for it.

    Args:
        groups: the groups, by the names of their moments.
        moments: the moments by name.
        serving: the matcher of a group; None: the balanced map of two sides, which inverts.

    Raises:
        DataError: as said.
    """
    for name, group_moments in moments.items():
        group = groups[name]
        matcher = serving(group)
        if group_moments.count > group.size or not (matcher is None or matcher.inverts):
            continue
        raise DataError(
            f"Group {group.name} has {group.size} features but the calibration data gave only"
            f" {group_moments.count} samples; pass enough examples for at least {group.size + 1}"
            " samples (positions of a convolution count as samples), or align by 'permutation' or"
            " 'none', which invert nothing."
        )
