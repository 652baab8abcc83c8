"""Results that would not fit on their disk are refused before the work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from onefold.checkpoints.engine.journal import finished_files, staging_folder
from onefold.checkpoints.engine.preparing import Prepared
from onefold.checkpoints.plan.estimate import Room
from onefold.checkpoints.plan.sizes import shown_bytes
from onefold.errors import OutputError
from onefold.weights.atomic import explain

SPACE = 50_000_000  # bytes that config, tokenizer and the like take beside the weights


def check_room(plans: Sequence[Prepared]) -> Room | None:
    """Refuse results that do not fit on their disk.

    Args:
        plans: the documents that will be carried out.

    Returns:
        What the last of them takes with all that lie on the same disk; None: there are no plans.

    Raises:
        OutputError: there is not enough room.
    """
    found: Room | None = None
    disks: dict[int, list[Prepared]] = {}
    for plan in plans:
        disks.setdefault(plan.target.parent.stat().st_dev, []).append(plan)
    for several in disks.values():
        room = _room(several)
        if room.free < room.needed:
            raise OutputError(
                f"{room.folder} has {shown_bytes(room.free)} free, and the merge takes"
                f" {shown_bytes(room.needed)}; free some space or choose another place."
            )
        if plans[-1] in several:
            found = room
    return found


def _room(plans: Sequence[Prepared]) -> Room:
    folder, needed, left = plans[-1].target.parent, 0, 0
    try:
        for one in plans:
            done = finished_files(one.target, one.made_of)
            needed += SPACE + sum(s.size for s in one.plan.shards if s.file not in done)
            left += _size(staging_folder(one.target), done)
        return Room(folder, needed, shutil.disk_usage(folder).free + left)
    except OSError as error:
        raise explain(error, plans[-1].out) from error


def _size(folder: Path, without: set[str]) -> int:
    """The bytes of the files of a folder."""
    total = 0
    for inner, _, names in os.walk(folder):
        files = (Path(inner) / name for name in names)
        total += sum(
            file.lstat().st_size for file in files if str(file.relative_to(folder)) not in without
        )
    return total
