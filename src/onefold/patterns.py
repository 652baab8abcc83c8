"""Parts of a network chosen by name patterns, as of the shell: "*", "?" and "[...]"; a pattern also matches all that lies within a module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from onefold.errors import RecipeError, nearest


def check_patterns(patterns: Sequence[str], names: Sequence[str], what: str) -> None:
    """Raises RecipeError where a pattern matches none of `names`."""
    if not patterns:
        raise RecipeError(f"The list `{what}` is empty; leave it out, or name a part of the network.")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise RecipeError(f"The pattern '{pattern}' of `{what}` matches no part of the network that can be chosen; {nearest(pattern, names)}")


def around(name: str) -> Iterator[str]:
    """The name, and those of the modules around it, from the inside out."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def select(names: Sequence[str], include: Sequence[str] | None, exclude: Sequence[str] | None) -> list[str]:
    """The names that a pattern of `include` (None: all) and none of `exclude` matches, by themselves or a module around them.

    Raises:
        RecipeError: a pattern matches nothing, or nothing is left.
    """
    known = sorted({part for name in names for part in around(name)})
    for patterns, what in ((include, "include"), (exclude, "exclude")):
        if patterns is not None:
            check_patterns(patterns, known, what)
    left = [n for n in names if (include is None or matches(n, include)) and not (exclude and matches(n, exclude))]
    if not left:
        raise RecipeError("No part of the network is left: `exclude` takes away all that `include` names; narrow it.")
    return left


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches the name or that of a module around it."""
    return any(fnmatchcase(part, pattern) for part in around(name) for pattern in patterns)
