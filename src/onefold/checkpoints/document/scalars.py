"""Scalars of documents as the kinds of numbers that parameters take."""

from __future__ import annotations

from onefold.checkpoints.document.content import Scalar

TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def scalar_of(given: Scalar, kind: type) -> Scalar:
    """A scalar as the kind of number that a parameter takes, where that says the same.

    Texts such as "1e-5" are numbers, as YAML 1.1 takes numbers without a dot for texts. 0 and 1 are
    truth values.
    """
    if isinstance(given, str):
        if kind is bool:
            return TRUTHS.get(given.lower(), given)
        try:
            given = float(given)
        except ValueError:
            return given
    if isinstance(given, bool):
        return given
    if kind is bool:
        return bool(given) if given in (0, 1) else given
    return int(given) if kind is int and abs(given) < 2**63 and given == int(given) else given
