"""The measurements of benchmarks/checkpoints run on small sizes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.checkpoints import kills, speed


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_killed_merge_leaves_nothing_or_what_is_gone_on_with(tmp_path: Path) -> None:
    found = kills.measure(tmp_path, 4)
    assert found["moments"] == 4


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_every_method_is_timed_against_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of one method is measured in a process of its own, that of the others in this."""
    alone = speed.peak_alone

    def peak(name: str, folders: list[Path], out: Path, threads: int) -> int:
        if name == "ties":
            return alone(name, folders, out, threads)
        found = speed.peak_of(name, folders, out, threads)
        shutil.rmtree(out)
        return found

    monkeypatch.setattr(speed, "peak_alone", peak)
    monkeypatch.setattr(speed, "shapes", lambda width, layers: {"layers.0.w": (width, width)})
    folders = speed.write_models(tmp_path, 64, 1)
    found = speed.measure(folders, tmp_path, 1, 1)
    assert set(found) == set(speed.METHODS)
    assert all(one["ratio"] > 0 for one in found.values())
