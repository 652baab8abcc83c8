"""What a report tells of a result's origin: what went in, how it was made, and the files."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

from onefold.weights.checksums import short

if TYPE_CHECKING:
    from onefold.report import Report

FELT = 0.05  # the least share of the whole time that is told
WORDS = {  # settings whose names alone say too little
    "share": "held-out share of the labelled data",
    "lr": "learning rate",
    "fallback": "falls back to what scores better",
    "outputs": "outputs summed at level model",
    "screen": "leaves out unfit members",
}

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
    return {
        WORDS.get(name, name.replace("_", " ")): written(value) for name, value in settings.items()
    }


def seconds_facts(seconds: Mapping[str, float]) -> dict[str, Fact]:
    """The time that all phases took together, and those of them that took long."""
    if not seconds:
        return {}
    total = sum(seconds.values())
    phases = [
        f"{phase} {duration(spent)}" for phase, spent in seconds.items() if spent >= FELT * total
    ]
    return {"time": duration(total) + (f" ({', '.join(phases)})" if len(phases) > 1 else "")}


def duration(seconds: float) -> str:
    """A time in words, of no more digits than one reads."""
    if seconds < 0.1:
        return "less than 0.1 s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def stamp(report: Report) -> Report:
    """Enter the date, and the command line if this process is the program `onefold`.

    The date is that of SOURCE_DATE_EPOCH (seconds since 1970) where the environment has it, so that
    pages can be reproduced.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(given) if given.isdecimal() else time.time()
    report.date = datetime.fromtimestamp(seconds, timezone.utc).date().isoformat()
    report.command = command_line(sys.argv)
    return report


def command_line(arguments: Sequence[str]) -> str:
    """The command as it was typed; "" if the arguments are of another program."""
    if not arguments:
        return ""
    program = PurePath(arguments[0])
    by_module = program.parts[-2:] == ("onefold", "__main__.py")
    if program.stem != "onefold" and not by_module:
        return ""
    return shlex.join(["onefold", *arguments[1:]])
