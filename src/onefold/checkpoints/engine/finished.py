"""What earlier runs finished is taken, not made again, if it is whole and of the same plan.

Documents that refer to one another have results of their own. If the last merge is killed, the
next run finds those of the others, told by what their records say they were made of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onefold.checkpoints.plan.planning import Plan
from onefold.progress import track

RECORD, MADE_OF, CHECKSUMS = "onefold_merge.json", "made_of", "checksums"


class DamagedFile(UserWarning):
    """A file that an earlier run had finished was changed since, and is written anew."""


def has_record(folder: Path) -> bool:
    """Whether a folder may be the result of an earlier run."""
    return (folder / RECORD).is_file()


def is_finished(folder: Path, fingerprint: str, plan: Plan) -> bool:
    """Whether a folder is the complete result of a plan, as far as its record and sizes tell.

    Args:
        folder: the folder.
        fingerprint: what the plan depends on.
        plan: the plan.
    """
    try:
        if _record(folder).get(MADE_OF) != fingerprint:
            return False
        return all((folder / one.file).stat().st_size == one.size for one in plan.shards)
    except (OSError, ValueError):
        return False


def recorded_checksums(folder: Path) -> dict[str, str]:
    """The checksums of files that the record of a result holds.

    Args:
        folder: a result with a record.
    """
    try:
        found = _record(folder).get(CHECKSUMS)
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def damaged_files(plan: Plan, folder: Path, checksums: Mapping[str, str]) -> list[str]:
    """The files that do not hold any more what was written into them. All of them are read.

    Args:
        plan: the plan that they are of.
        folder: where they are.
        checksums: of the finished files; others are not looked at.
    """
    from onefold.checkpoints.engine.checksums import checksum_of
    from onefold.checkpoints.engine.running import ranges_of

    shards = [shard for shard in plan.shards if shard.file in checksums]
    found = []
    for shard in track(shards, "Checking finished files"):
        ranges = ranges_of(shard, plan.jobs)
        if checksum_of(folder / shard.file, ranges) != checksums[shard.file]:
            found.append(shard.file)
    return found


def told_of_damage(file: Path) -> str:
    """The sentence on a file that is written anew."""
    return (
        f"{file} was changed after an earlier run had finished it, and is written anew; is the disk"
        " sound?"
    )


def _record(folder: Path) -> dict[str, Any]:
    """The record of a result. Raises OSError or ValueError."""
    content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it is no table")
    return content
