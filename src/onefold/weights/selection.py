"""Which part of a checkpoint is read: an entry, the names under a prefix, and patterns of names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from onefold.arguments import check_fields
from onefold.errors import WeightsError, nearest
from onefold.patterns import Patterns, as_list, matches


@dataclass(frozen=True)
class Selection:
    """Which part of a checkpoint is read.

    Attributes:
        entry: The entry of a torch file that is the state dict, with dots into entries of it, as
            ema.module; of an archive the file in it. None takes the one of the usual names.
        prefix: Take only the names that begin so, without it, as "model.".
        keys: Patterns of the names to take, behind the prefix; None takes all.
        drop: Patterns of the names to leave out.

    Raises:
        SettingError: a field is of a wrong type.
    """

    entry: str | None = None
    prefix: str | None = None
    keys: Patterns = None
    drop: Patterns = None

    def __post_init__(self) -> None:
        check_fields(self)

    def names(self, given: Iterable[str], where: str, notes: list[str]) -> dict[str, str]:
        """Name of each tensor that is taken -> its name in the file.

        Args:
            given: the names in the file.
            where: the file, for the messages.
            notes: a sentence on what was left out is appended here.

        Raises:
            WeightsError: the prefix or a pattern fits no name, or no name is left.
        """
        given = list(given)
        prefix = self.prefix or ""
        found = {n[len(prefix) :]: n for n in given if n.startswith(prefix) and n != prefix}
        if not found:
            first = sorted({name.partition(".")[0] + "." for name in given if "." in name})
            raise WeightsError(
                f"{where} has no name that begins with the prefix '{prefix}';"
                f" {nearest(prefix, first)}"
            )
        for patterns, what in ((self.keys, "keys"), (self.drop, "drop")):
            for pattern in as_list(patterns) or []:
                if not any(matches(name, pattern) for name in found):
                    raise WeightsError(
                        f"{where} has no name that the pattern '{pattern}' of {what} matches;"
                        f" {nearest(pattern, _shown(found))}"
                    )
        taken = {
            name: old
            for name, old in found.items()
            if (self.keys is None or matches(name, self.keys)) and not matches(name, self.drop)
        }
        if not taken:
            raise WeightsError(
                f"{where} has no name left that keys takes and drop does not; narrow drop."
            )
        if len(taken) < len(given):
            out = next(name for name in given if name not in set(taken.values()))
            count = len(given) - len(taken)
            notes.append(f"Left out {count} of {len(given)} names as asked, such as '{out}'.")
        return taken

    @property
    def plain(self) -> bool:
        """Whether all names are taken as they are."""
        return self.prefix is None and self.keys is None and self.drop is None


def entry_of(content: Mapping[Any, Any], path: str) -> Any:
    """What lies at a dotted path in nested dictionaries; None if there is nothing.

    Keys may have dots themselves: the longest that fits is taken first.
    """
    if path in content:
        return content[path]
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        inner = content.get(".".join(parts[:count]))
        if isinstance(inner, Mapping):
            found = entry_of(inner, ".".join(parts[count:]))
            if found is not None:
                return found
    return None


def _shown(names: Iterable[str], most: int = 8) -> list[str]:
    """A few names for a message."""
    return sorted(names)[:most]
