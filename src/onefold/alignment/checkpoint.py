"""What an alignment has reached, kept in a folder so that a run that was killed goes on where it
was, to the same bits.

A part of the work, all members at once or one pair of members, first has its moments
(PART.statistics.pt), then each group's maps (PART.group-NAME.pt), at last its whole solution
(PART.solution.pt), which takes the place of the others. Every file appears in one step. What is
used further is always what was read back from the file, which is mapped into memory and so needs
none of its own. run.json says which run it is; a folder of another run is refused. Of several
processes the first reads and writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from onefold._version import __version__
from onefold.alignment.moments import Moments
from onefold.alignment.results import GroupSolution
from onefold.distributed import from_first_rank, raise_together, rank
from onefold.errors import OutputError, WeightsError
from onefold.symmetry import GroupMap
from onefold.weights.atomic import atomic_write, explain
from onefold.weights.file_writers import write_torch
from onefold.weights.torch_file import read_torch

if TYPE_CHECKING:
    from onefold.alignment.results import Solution
    from onefold.alignment.statistics import Statistics

FORMAT = "onefold alignment 1"
RUN = "run.json"


class NoCheckpoint:
    """Where nothing is checkpoint: everything is computed."""

    def part(self, name: str) -> NoCheckpoint:
        """The same for a part of the work."""
        return self

    def statistics(self, make: Callable[[], Statistics], device: torch.device) -> Statistics:
        """The moments of a part, made or as they were checkpoint."""
        return make()

    def groups(
        self, name: str, make: Callable[[], dict[str, GroupSolution]]
    ) -> dict[str, GroupSolution]:
        """Groups that are solved together, called `name`."""
        return make()

    def solution(self, make: Callable[[], Solution]) -> Solution:
        """All of a part."""
        return make()


NO_CHECKPOINT = NoCheckpoint()


class FolderCheckpoint(NoCheckpoint):
    """What is reached is kept in a folder; see the file's head. Make one with `open_checkpoint`."""

    def __init__(self, place: Path, prefix: str = "all") -> None:
        self._place, self._prefix = place, prefix

    def part(self, name: str) -> FolderCheckpoint:
        return FolderCheckpoint(self._place, name)

    def statistics(self, make: Callable[[], Statistics], device: torch.device) -> Statistics:
        from onefold.alignment.statistics import Statistics

        if self._there("solution"):  # nothing is left to be solved from the moments
            facts = self._read("solution")
            return Statistics({}, {}, facts["examples"], facts["numbers"])

        def plain() -> dict[str, Any]:
            made = make()
            every = {id(m): m for m in (*made.groups.values(), *made.layers.values())}
            place = {
                key: number for number, key in enumerate(every)
            }  # a layer's output may share the moments of a group
            groups, layers = (
                {name: place[id(m)] for name, m in own.items()}
                for own in (made.groups, made.layers)
            )
            return {
                "moments": [m.to_plain() for m in every.values()],
                "examples": made.examples,
                "groups": groups,
                "layers": layers,
            }

        content = self._kept("statistics", plain)
        moments = [Moments.from_plain(own, device) for own in content["moments"]]
        groups, layers = (
            {name: moments[k] for name, k in content[kind].items()} for kind in ("groups", "layers")
        )
        return Statistics(groups, layers, content["examples"])

    def groups(
        self, name: str, make: Callable[[], dict[str, GroupSolution]]
    ) -> dict[str, GroupSolution]:
        content = self._kept(
            f"group-{name}", lambda: {group: _to_plain(own) for group, own in make().items()}
        )
        return {group: _from_plain(own) for group, own in content.items()}

    def solution(self, make: Callable[[], Solution]) -> Solution:
        from onefold.alignment.results import Solution

        def plain() -> dict[str, Any]:
            made = make()
            found: dict[str, Any] = (
                self._read("statistics")
                if self._there("statistics")
                else {"examples": 0, "moments": []}
            )
            numbers = sum(Moments.from_plain(own).numbers for own in found["moments"])
            solved = {group: _to_plain(own) for group, own in made.solved.items()}
            return {
                "solved": solved,
                "outputs": made.outputs,
                "examples": found["examples"],
                "numbers": numbers,
            }

        content = self._kept("solution", plain)
        if rank() == 0:
            for old in (self._path("statistics"), *self._place.glob(f"{self._prefix}.group-*.pt")):
                old.unlink(missing_ok=True)
        return Solution(
            {group: _from_plain(own) for group, own in content["solved"].items()},
            content["outputs"],
        )

    def _path(self, what: str) -> Path:
        return self._place / f"{self._prefix}.{what}.pt"

    def _there(self, what: str) -> bool:
        return from_first_rank(self._path(what).exists())

    def _read(self, what: str) -> Any:
        return from_first_rank(read_torch(self._path(what)) if rank() == 0 else None)

    def _kept(self, what: str, make: Callable[[], dict[str, Any]]) -> Any:
        if not self._there(what):
            made = make()
            with raise_together():
                if rank() == 0:
                    atomic_write(
                        self._path(what), lambda temporary: write_torch(made, temporary), force=True
                    )
        return self._read(what)


def open_checkpoint(place: str | os.PathLike[str], run: Mapping[str, Any]) -> FolderCheckpoint:
    """The folder `place`, made where it is not there, for the run that `run` (plain data) tells
    from others.

    Raises:
        OutputError: it cannot be made or written, holds something else, or belongs to another run;
            the first difference is named.
    """
    path = Path(place).expanduser()
    now = json.loads(
        json.dumps({"format": FORMAT, "onefold": __version__, "torch": torch.__version__, **run})
    )
    problem = from_first_rank(_prepare(path, now) if rank() == 0 else None)
    if problem is not None:
        raise OutputError(problem)
    return FolderCheckpoint(path)


def _prepare(path: Path, now: dict[str, Any]) -> str | None:
    """Make or check the folder; what is wrong with it, if anything."""
    try:
        path.mkdir(exist_ok=True)
        for left in path.glob(".*.tmp"):  # of a writer that was killed
            left.unlink()
        if not (path / RUN).exists():
            if next(path.iterdir(), None) is not None:
                return (
                    f"{path} holds other files than an unfinished alignment's; choose an empty or"
                    " new folder to keep it in."
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
    return f"{path} keeps another run ({how}); give what it was begun with, or another folder."


def _to_plain(solved: GroupSolution) -> dict[str, Any]:
    maps = [{"kind": m.kind, "forward": m.forward, "inverse": m.inverse} for m in solved.maps]
    facts = {
        "conditions": list(solved.conditions),
        "matcher": solved.matcher,
        "fallback": solved.fallback,
        "still": list(solved.still),
    }
    return {"maps": maps, "scores": solved.scores, **facts}


def _from_plain(content: Mapping[str, Any]) -> GroupSolution:
    maps = tuple(GroupMap(m["kind"], _tensor(m["forward"]), m["inverse"]) for m in content["maps"])
    still = tuple(content.get("still", ()))
    return GroupSolution(
        maps,
        content["scores"],
        tuple(content["conditions"]),
        content["matcher"],
        content["fallback"],
        still,
    )


def _tensor(value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise WeightsError(
            "A kept map is damaged; remove the folder that it lies in, and begin anew."
        )
    return value
