"""How many samples the maps that are asked for need: two, or more than there are features where a
matcher inverts.

A permutation, and no map at all, come from correlations, which two samples have. A dense map comes
from whole covariances of a group's features: with no more samples than features these are singular,
and the map is arbitrary along what the data never showed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onefold.alignment.matchers import Matcher
from onefold.alignment.moments import Moments
from onefold.errors import DataError
from onefold.symmetry.axes import Group

LEAST = 2


def check_least(name: str, width: int, moments: Moments) -> None:
    """Raises DataError where there is no correlation of a group's features at all."""
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
    """Raises DataError for the first group whose matcher inverts and has too few samples for it.

    groups: by the name under which their moments are checkpoint. serving: who maps a group; None: the
    balanced map of two sides, which inverts.
    """
    for name, own in moments.items():
        group = groups[name]
        matcher = serving(group)
        if own.count > group.size or not (matcher is None or matcher.inverts):
            continue
        raise DataError(
            f"Group {group.name} has {group.size} features but the calibration data gave only"
            f" {own.count} samples; pass enough examples for at least {group.size + 1} samples"
            " (positions of a convolution count as samples), or align by 'permutation' or 'none',"
            " which invert nothing."
        )
