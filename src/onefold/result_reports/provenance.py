"""What a report tells of a result's origin: what went in, how it was made, and the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from onefold.weights.checksums import short

Fact: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Provenance:
    """The facts of a report that the result itself does not know.

    Attributes:
        inputs: what went in and what was asked for: the facts before those of the result. A fact of
            the result with the same name replaces one of these.
        run: how it was carried out, such as the seed: the facts after those of the result.
        recipe: the whole recipe as plain data; None: there is none.
        files: file -> SHA-256 of the networks that were written, if the report tells them.
    """

    inputs: Mapping[str, Fact] = field(default_factory=dict)
    run: Mapping[str, Fact] = field(default_factory=dict)
    recipe: Mapping[str, Any] | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def around(self, facts: Mapping[str, Fact]) -> dict[str, Fact]:
        """The facts of the result between those of its origin."""
        sums = {f"SHA-256 of {file}": short(digest) for file, digest in self.files.items()}
        return {**self.inputs, **facts, **sums, **self.run}

    def data(self) -> dict[str, Any]:
        """The recipe and the files as plain data; what there is not is left out."""
        recipe = {} if self.recipe is None else {"recipe": dict(self.recipe)}
        return recipe | ({"files": dict(self.files)} if self.files else {})


def written(value: object) -> Fact:
    """A setting as a fact: several values become one text."""
    if isinstance(value, str | int | float | bool | None):
        return value
    assert isinstance(value, Sequence)
    return ", ".join(map(str, value))


def settings_facts(settings: Mapping[str, Any]) -> dict[str, Fact]:
    """Settings by name, as facts."""
    return {name.replace("_", " "): written(value) for name, value in settings.items()}


def seconds_facts(seconds: Mapping[str, float]) -> dict[str, Fact]:
    """The seconds of each phase, as facts."""
    return {f"time to {phase} (s)": spent for phase, spent in seconds.items()}
