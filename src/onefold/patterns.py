"""Parts of a network chosen by name patterns, as of the shell: "*", "?" and "[...]".

A pattern that matches a module also matches all that lies within it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from onefold.errors import SettingError, nearest

Patterns = str | Sequence[str] | None  # one, several, or no choice
T = TypeVar("T")


def as_list(patterns: Patterns) -> list[str] | None:
    """Patterns as a list, also if one is given as a string; None for no choice."""
    return None if patterns is None else [patterns] if isinstance(patterns, str) else list(patterns)


def check_patterns(patterns: Sequence[str], names: Sequence[str], what: str) -> None:
    """Check that every pattern matches one of `names`.

    Args:
        patterns: patterns to check.
        names: names that they may match.
        what: name of the setting in error messages.

    Raises:
        SettingError: the list is empty, or a pattern matches no name.
    """
    if not patterns:
        raise SettingError(
            f"The list `{what}` is empty; leave it out, or name a part of the network."
        )
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise SettingError(
                f"The pattern '{pattern}' of `{what}` matches no part of the network that can be"
                f" chosen; {nearest(pattern, names)}"
            )


def around(name: str) -> Iterator[str]:
    """Yield the name, then those of the modules around it, from the inside out."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def choose(
    items: Sequence[T], names_of: Callable[[T], Iterable[str]], include: Patterns, exclude: Patterns
) -> list[T]:
    """The items that `include` matches and `exclude` does not.

    Args:
        items: items to choose from.
        names_of: function that gives all names of an item; one that matches is enough.
        include: patterns of items to take; None for all.
        exclude: patterns of items to leave out; None for none.

    Raises:
        SettingError: a pattern matches nothing, or nothing is left.
    """
    wanted, unwanted = as_list(include), as_list(exclude)
    known = sorted({name for item in items for name in names_of(item)})
    for patterns, what in ((wanted, "include"), (unwanted, "exclude")):
        if patterns is not None:
            check_patterns(patterns, known, what)
    left = [
        i
        for i in items
        if (wanted is None or _any(names_of(i), wanted))
        and not (unwanted and _any(names_of(i), unwanted))
    ]
    if not left:
        raise SettingError(
            "No part of the network is left: `exclude` removes all that `include` names; narrow it."
        )
    return left


def select(names: Sequence[str], include: Patterns, exclude: Patterns) -> list[str]:
    """The names that patterns choose, by themselves or by a module around them.

    Args:
        names: names to choose from.
        include: patterns of names to take; None for all.
        exclude: patterns of names to leave out; None for none.

    Raises:
        SettingError: as `choose`.
    """
    return choose(names, around, include, exclude)


def matches(name: str, patterns: Patterns) -> bool:
    """Whether a pattern matches the name or a module around it."""
    return _any(around(name), as_list(patterns) or [])


def _any(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
