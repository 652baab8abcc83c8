"""Results of earlier runs: one that is complete and of the same plan is taken, not made again.

Documents that refer to one another have results of their own. If the last merge is killed, the
next run finds those of the others, told by what their records say they were made of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from onefold.checkpoints.plan.shards import Shard

RECORD, MADE_OF = "onefold_merge.json", "made_of"


def has_record(folder: Path) -> bool:
    """Whether a folder may be the result of an earlier run."""
    return (folder / RECORD).is_file()


def is_finished(folder: Path, fingerprint: str, shards: Sequence[Shard]) -> bool:
    """Whether a folder is the complete result of a plan.

    Args:
        folder: the folder.
        fingerprint: what the plan depends on.
        shards: its files of weights.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if not isinstance(record, dict) or record.get(MADE_OF) != fingerprint:
            return False
        return all((folder / one.file).stat().st_size == one.size for one in shards)
    except (OSError, ValueError):
        return False
