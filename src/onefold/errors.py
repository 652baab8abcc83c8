"""Errors that onefold raises on purpose: one sentence that says what, where and what to do."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable


class OnefoldError(Exception):
    """Base of all errors of this library. The message is one sentence that a user can act on."""


class WeightsError(OnefoldError):
    """A checkpoint cannot be read, written or trusted."""


class MembersError(OnefoldError, ValueError):
    """The networks to fold do not fit together, or one of them is unfit."""


class DataError(OnefoldError, ValueError):
    """The data is empty, too little, of the wrong type, or cannot be run through the network."""


class TraceError(OnefoldError, RuntimeError):
    """torch.export cannot trace the network, so its symmetries cannot be found."""


class SymmetryError(OnefoldError):
    """A SymmetrySpec does not fit the network, or its numeric proof failed."""


class WidthsError(OnefoldError, ValueError):
    """A network cannot have the widths that are asked for, or a file holds other ones."""


class AlignmentError(OnefoldError):
    """An alignment cannot be computed or applied."""


class NothingToAlignError(AlignmentError):
    """An alignment was asked for that can move no parameter.

    Attributes:
        fixed: the network treats all features between its layers as positions, as a Fourier
            transform does. Such networks are as well aligned as they can ever be.
    """

    fixed: bool = False


class SettingError(OnefoldError, ValueError):
    """An argument, a name or a combination of settings is unknown or contradictory."""


class RecipeError(SettingError):
    """A recipe or the flags of a command are unknown or contradictory."""


class SubspaceError(OnefoldError):
    """A subspace cannot be made, or a point is asked of it that it does not have."""


class PersistentError(OnefoldError):
    """Rounds of training cannot be made, recorded or continued as asked."""


class RanksError(OnefoldError, RuntimeError):
    """Processes that work together were given different things, or one of them is gone."""


class OutputError(OnefoldError):
    """An output cannot be written: it exists, its folder is missing, or the disk is full."""


class RepeatedMembers(UserWarning):
    """A network is given twice among several: an object, a file, or equal weights."""


class Note(str):
    """A sentence among warnings that only tells what was decided."""


def warn(warning: Warning) -> None:
    """Warn at the line that called this library."""
    level, frame = 1, sys._getframe()
    inside = ("onefold", "torch", "contextlib")  # torch and contextlib as decorators
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in inside:
        level, frame = level + 1, frame.f_back
    warnings.warn(warning, stacklevel=level)


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """The end of an error message: the nearest known name, or what to do if none is near.

    Args:
        name: the unknown name.
        known: the known names.
        otherwise: the advice if none is near; "" names them all.
    """
    known, name = sorted(known), str(name)[:100]  # a long text would take long to compare
    cutoff = 0.65 if otherwise else 0.5  # a far name is better than none
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    if not close:  # in other letters, as ResNet20
        lower = {one.lower(): one for one in known}
        close = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, 1, cutoff)]
    if close:
        return f"did you mean '{close[0]}'?"
    return otherwise or f"known: {', '.join(known) or 'none'}."


def shown(value: object) -> str:
    """A value in an error message: its type, with the value itself if that is short."""
    if isinstance(value, type):
        return kind_of(value)
    text = repr(value)
    if value is None or isinstance(value, bool) or (isinstance(value, str) and len(text) <= 80):
        return text
    short = len(text) <= 40 and "\n" not in text
    return f"{text} ({type(value).__name__})" if short else kind_of(value)


def kind_of(value: object) -> str:
    """The type of a value in an error message, such as "a dict"; of a class its name."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"
