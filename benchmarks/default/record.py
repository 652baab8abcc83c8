"""A JSON record that a stopped run goes on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def kept(path: Path) -> dict[str, Any]:
    """What an earlier run found; {} if there was none."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(record: dict[str, Any], path: Path) -> None:
    """Write the record, in full or not at all, every entry on a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in record.items()]
    part = path.with_suffix(".part")
    part.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    part.replace(path)
