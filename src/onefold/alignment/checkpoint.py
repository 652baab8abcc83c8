"""Checkpoints of an alignment: an interrupted run resumes from a folder, to the same bits.

A part of the work is all members at once, or one pair of members. Each part writes three kinds of
files:

    PART.statistics.pt    its moments
    PART.group-NAME.pt    the maps of each group, as soon as they are solved
    PART.solution.pt      its whole solution, which replaces the others

Every file appears in one step. A run continues with the content that is read back from the file.
The file is mapped into memory, so the content needs no memory of its own. run.json says which run
it is; the folder of another run is refused. Of several processes the first reads and writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from onefold._version import __version__
from onefold.alignment.moments import Moments
from onefold.alignment.results import GroupSolution, Solution
from onefold.alignment.statistics import Statistics
from onefold.distributed import from_first_rank, raise_together, rank
from onefold.errors import OutputError, WeightsError
from onefold.weights.atomic import atomic_write, explain
from onefold.weights.file_writers import write_torch
from onefold.weights.torch_file import read_whole

FORMAT = "onefold alignment 2"
RUN = "run.json"


class NoCheckpoint:
    """The checkpoint of a run that saves nothing: everything is computed."""

    def part(self, name: str) -> NoCheckpoint:
        """The checkpoint of a part of the work."""
        return self

    def statistics(self, make: Callable[[], Statistics], device: torch.device) -> Statistics:
        """The moments of a part, computed or read."""
        return make()

    def groups(
        self, name: str, make: Callable[[], dict[str, GroupSolution]]
    ) -> dict[str, GroupSolution]:
        """The groups that are solved together under this name."""
        return make()

    def solution(self, make: Callable[[], Solution]) -> Solution:
        """The whole solution of a part."""
        return make()


NO_CHECKPOINT = NoCheckpoint()


class FolderCheckpoint(NoCheckpoint):
    """A checkpoint in a folder; see the file's head. Make one with `open_checkpoint`.

    Args:
        folder: the folder, which is there.
        prefix: the name of the part of the work.
    """

    def __init__(self, folder: Path, prefix: str = "all") -> None:
        self._folder, self._prefix = folder, prefix

    def part(self, name: str) -> FolderCheckpoint:
        """The checkpoint of a part of the work, in the same folder."""
        return FolderCheckpoint(self._folder, name)

    def statistics(self, make: Callable[[], Statistics], device: torch.device) -> Statistics:
        """The moments of a part, computed and saved, or read if they are there."""
        if self._exists("solution"):  # nothing is left to be solved from the moments
            facts = self._read("solution")
            return Statistics({}, facts["examples"], facts["numbers"])

        def plain() -> dict[str, Any]:
            statistics = make()
            moments = {name: m.to_plain() for name, m in statistics.groups.items()}
            return {"moments": moments, "examples": statistics.examples}

        content = self._cached("statistics", plain)
        moments = {name: Moments.from_plain(m, device) for name, m in content["moments"].items()}
        return Statistics(moments, content["examples"])

    def groups(
        self, name: str, make: Callable[[], dict[str, GroupSolution]]
    ) -> dict[str, GroupSolution]:
        """The groups that are solved together, solved and saved, or read if they are there."""
        content = self._cached(
            f"group-{name}", lambda: {group: s.to_plain() for group, s in make().items()}
        )
        return {group: GroupSolution.from_plain(plain) for group, plain in content.items()}

    def solution(self, make: Callable[[], Solution]) -> Solution:
        """The whole solution of a part, solved and saved, or read if it is there."""

        def plain() -> dict[str, Any]:
            solved = {group: s.to_plain() for group, s in make().items()}
            if not self._exists("statistics"):
                return {"solved": solved, "examples": 0, "numbers": 0}
            statistics = self._read("statistics")
            numbers = sum(Moments.from_plain(m).numbers for m in statistics["moments"].values())
            return {"solved": solved, "examples": statistics["examples"], "numbers": numbers}

        content = self._cached("solution", plain)
        if rank() == 0:
            for old in (self._path("statistics"), *self._folder.glob(f"{self._prefix}.group-*.pt")):
                old.unlink(missing_ok=True)
        return {group: GroupSolution.from_plain(s) for group, s in content["solved"].items()}

    def _path(self, what: str) -> Path:
        return self._folder / f"{self._prefix}.{what}.pt"

    def _exists(self, what: str) -> bool:
        return from_first_rank(self._path(what).exists())

    def _read(self, what: str) -> Any:
        return from_first_rank(read_whole(self._path(what)) if rank() == 0 else None)

    def _cached(self, what: str, make: Callable[[], dict[str, Any]]) -> Any:
        if not self._exists(what):
            content = make()
            with raise_together():
                if rank() == 0:
                    path = self._path(what)
                    atomic_write(
                        path, lambda temporary: write_torch(content, temporary), force=True
                    )
        return self._read(what)


def open_checkpoint(folder: str | os.PathLike[str], run: Mapping[str, Any]) -> FolderCheckpoint:
    """A checkpoint of a run in a folder, which is made if it is not there.

    Args:
        folder: the folder.
        run: plain data that tells the run from others.

    Raises:
        OutputError: the folder cannot be made or written, holds something else, or belongs to
            another run; the first difference is named.
    """
    path = Path(folder).expanduser()
    now = json.loads(
        json.dumps({"format": FORMAT, "onefold": __version__, "torch": torch.__version__, **run})
    )
    fault = from_first_rank(_prepare(path, now) if rank() == 0 else None)
    if fault is not None:
        raise OutputError(fault)
    return FolderCheckpoint(path)


def _prepare(path: Path, now: dict[str, Any]) -> str | None:
    """Make or check the folder; return the sentence of the error, if there is one."""
    try:
        path.mkdir(exist_ok=True)
        for left in path.glob(".*.tmp"):  # of a writer that was killed
            left.unlink()
        if not (path / RUN).exists():
            if next(path.iterdir(), None) is not None:
                return (
                    f"{path} holds other files than an unfinished alignment's; choose an empty or"
                    " new folder."
                )
            atomic_write(path / RUN, json.dumps(now, indent=1))
            return None
        then = json.loads((path / RUN).read_text(encoding="utf-8"))
        if not isinstance(then, dict):
            raise ValueError
    except OSError as error:
        return str(explain(error, path))
    except (OutputError, WeightsError) as error:
        return str(error)
    except ValueError:
        return f"{path / RUN} is damaged; remove the folder, or choose another one."
    name = next(
        (key for key in dict.fromkeys([*then, *now]) if then.get(key) != now.get(key)), None
    )
    if name is None:
        return None
    was, here = json.dumps(then.get(name)), json.dumps(now.get(name))
    how = f"{name} was {was} and is {here} now" if len(was + here) <= 120 else f"of other {name}"
    return (
        f"{path} belongs to another run ({how}); give the arguments of that run, or another folder."
    )
