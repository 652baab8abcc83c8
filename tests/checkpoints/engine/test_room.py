"""A plan and a merge look at the disk: whether there is room, a free name and leave to write."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
from fine_tunes import family, linear, written

import onefold
from onefold.errors import OutputError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return family(tmp_path, tiny.llama)


def with_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free))


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_a_full_disk_is_told_before_the_work(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch, dry: bool, count: int
) -> None:
    contents = [linear(["one", paths[2]])] if count == 2 else []
    contents.insert(0, linear(paths[:2], **({"name": "one"} if count == 2 else {})))
    document = written(tmp_path / "c.yml", *contents)
    with_free(monkeypatch, 51_000_000 * count)
    told: Any = onefold.merge_checkpoints(document, tmp_path / "o", dry_run=True)
    assert told.room.free == 51_000_000 * count
    assert "of disk, and" in told.room.text
    with_free(monkeypatch, 49_000_000 * count)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OutputError, match=r"has .* MB free, and the merge takes .* MB; free some"):
        onefold.merge_checkpoints(document, tmp_path / "o", dry_run=dry)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_plan_refuses_outputs_that_cannot_be_written(tmp_path: Path, paths: list[str]) -> None:
    document = written(tmp_path / "c.yml", linear(paths))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").touch()
    (tmp_path / "file").touch()
    for out, sentence in (
        ("there", "exists already"),
        ("file", "is a file, but the output is a folder"),
        ("none/out", "does not exist; create it"),
    ):
        with pytest.raises(OutputError, match=sentence):
            onefold.merge_checkpoints(document, tmp_path / out, dry_run=True)
    if os.name != "nt" and os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o555)
        with pytest.raises(OutputError, match="read-only for this user"):
            onefold.merge_checkpoints(document, tmp_path / "closed" / "out", dry_run=True)
