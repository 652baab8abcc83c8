"""`onefold merge` with members on disk, resumed or in several processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def merge(onefold: Callable[..., Any], members: list[Path]) -> Callable[..., Any]:
    flags = [
        "--model",
        "digits?width=4",
        "--data",
        "sklearn:digits",
        "--samples",
        "300",
        "--align",
        "permutation",
    ]
    return lambda *more: onefold("merge", *members, *flags, *more)


@pytest.mark.slow
def test_the_command_gives_the_same_bits_from_disk_and_resumed(
    merge: Callable[..., Any], tmp_path: Path
) -> None:
    for name, more in {
        "list": [],
        "disk": ["--on-disk"],
        "kept": ["--on-disk", "--resume", tmp_path / "kept"],
    }.items():
        result = merge("-o", tmp_path / f"{name}.safetensors", "--eval-split", "test", *more)
        assert result.status == 0, result.err
    contents = {
        (tmp_path / f"{name}.safetensors").read_bytes() for name in ("list", "disk", "kept")
    }
    tables = {
        tuple(
            (tmp_path / f"{name}.report.json")
            .read_text()
            .split('"scores"')[1]
            .split('"spectra"')[0]
            .split()
        )
        for name in ("list", "disk")
    }
    assert len(contents) == len(tables) == 1
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "pair-0-1.solution.pt",
        "pair-0-2.solution.pt",
        "run.json",
    ]
    other = merge(
        "-o",
        tmp_path / "other.safetensors",
        "--on-disk",
        "--resume",
        tmp_path / "kept",
        "--skip",
        "10",
    )
    assert other.status == 2
    assert "of other calibration data" in other.err


@pytest.mark.slow
def test_what_cannot_be_resumed_or_shared_is_refused(
    merge: Callable[..., Any], tmp_path: Path
) -> None:
    for more, what in (
        (["--until", "50%", "--resume", tmp_path / "kept"], "runs in one process"),
        (["--until", "50%", "--on-disk"], "runs in one process"),
        (["--device", "cpu:0", "--devices", "2"], "single one"),
    ):
        result = merge("-o", tmp_path / "x.safetensors", *more)
        assert result.status == 2, result.err
        assert what in result.err
    assert not (tmp_path / "kept").exists()
