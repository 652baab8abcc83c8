"""Families of interchangeable methods, filled by a decorator.

A user's own package can add a member without a change of this one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Generic, TypeVar

from onefold.errors import SettingError, nearest

T = TypeVar("T")
FAMILIES: dict[str, Registry[object]] = {}


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One member of a family.

    Attributes:
        name: name that it is registered under.
        value: the member itself.
        summary: first line of its description.
    """

    name: str
    value: T
    summary: str


class Registry(Generic[T]):
    """Names to members of one kind.

    A new registry is also listed in FAMILIES, which `onefold methods` prints.

    >>> matchers = Registry("matcher")
    >>> @matchers.register("mine")
    ... def mine(): "Matches by magic."

    Args:
        kind: name of the family, in the singular, for error messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}
        FAMILIES[kind] = self  # type: ignore[assignment]

    def register(self, *names: str, summary: str = "") -> Callable[[T], T]:
        """Decorator that registers a member under `names`.

        Args:
            names: one or several names.
            summary: description in one line; empty for the first line of the docstring.

        Raises:
            SettingError: a name is taken.
        """

        def add(value: T) -> T:
            for name in names:
                if name in self._entries:
                    raise SettingError(
                        f"The {self.kind} '{name}' is registered already; choose another name."
                    )
                first_line = (value.__doc__ or "").strip().split("\n")[0]
                self._entries[name] = Entry(name, value, summary or first_line)
            return value

        return add

    def unregister(self, *names: str) -> None:
        """Remove members, such as to register a changed one in a notebook.

        Args:
            names: names to remove; those that are not registered are passed over.
        """
        for name in names:
            self._entries.pop(name, None)

    def get(self, name: str) -> T:
        """The member registered under `name`.

        Raises:
            SettingError: there is none; the message gives the nearest known name.
        """
        try:
            return self._entries[name].value
        except KeyError:
            raise SettingError(
                f"There is no {self.kind} named '{name}'; {nearest(name, self._entries)}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)


def found(
    pattern: str, families: Mapping[str, Iterable[Entry[object]]] = FAMILIES
) -> dict[str, list[Entry[object]]]:
    """The members of all families that a pattern is about, by the kinds of the families.

    Args:
        pattern: what their kind, name or summary holds, in letters of any case; * and ? are wild.
        families: the members by kind; by default all registries that were imported.
    """
    wanted = f"*{pattern.lower()}*"

    def is_about(kind: str, entry: Entry[object]) -> bool:
        return any(fnmatch(text.lower(), wanted) for text in (kind, entry.name, entry.summary))

    entries = {
        kind: [entry for entry in family if is_about(kind, entry)]
        for kind, family in sorted(families.items())
    }
    return {kind: some for kind, some in entries.items() if some}


def description(entry: Entry[object]) -> str:
    """The whole docstring of a member, as far as it is prose."""
    text = inspect.getdoc(entry.value) or ""
    return text.split("\nRaises:")[0].rstrip()
