"""A family of interchangeable things, filled by a decorator, so that a user's own package can add
one without touching this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from onefold.errors import SettingError, nearest

T = TypeVar("T")
FAMILIES: dict[str, Registry[object]] = {}


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One member of a family: its name, the thing itself, and the first line of its description."""

    name: str
    value: T
    summary: str


class Registry(Generic[T]):
    """Names to things of one kind.

    Creating a registry also lists it in FAMILIES, which `onefold methods` prints.

    >>> matchers = Registry("matcher")
    >>> @matchers.register("mine")
    ... def mine(): "Matches by magic."
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}
        FAMILIES[kind] = self  # type: ignore[assignment]

    def register(self, *names: str, summary: str = "") -> Callable[[T], T]:
        """Decorator: file the decorated thing under `names`.

        Raises SettingError where a name is taken.
        """

        def add(value: T) -> T:
            for name in names:
                if name in self._entries:
                    raise SettingError(
                        f"The {self.kind} '{name}' is registered already; choose another name."
                    )
                self._entries[name] = Entry(
                    name, value, summary or (value.__doc__ or "").strip().split("\n")[0]
                )
            return value

        return add

    def get(self, name: str) -> T:
        """The thing filed under `name`.

        Raises SettingError with the nearest known name otherwise.
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
