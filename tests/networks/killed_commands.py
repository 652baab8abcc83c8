"""Kills of a command at random moments: afterwards there is nothing, or everything."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch


def kill_at_random(call: Sequence[str], stem: str, place: Path, attempts: int) -> dict[str, int]:
    """Kill a command in forks of this process, which has imported everything already.

    Args:
        call: the command's arguments without the output.
        stem: of the files that it writes: STEM.safetensors, .recipe.yaml and .report.json.
        place: an empty folder to write into.
        attempts: how many kills.

    Returns:
        How often there was "nothing" and how often "all"; the files are checked here.
    """
    torch.set_num_threads(1)  # a fork cannot use the threads of its parent
    result, recipe, report = (
        f"{stem}{end}" for end in (".safetensors", ".recipe.yaml", ".report.json")
    )
    assert os.waitpid(_start(call, place / "whole" / result), 0)[1] == 0  # loads what is lazy, too
    began = time.perf_counter()
    assert os.waitpid(_start(call, place / "timed" / result), 0)[1] == 0
    duration = time.perf_counter() - began
    expected = {name: _sha(place / "whole" / name) for name in (result, recipe)}
    draw, states = random.Random(0), {"nothing": 0, "all": 0}
    for attempt in range(attempts):
        folder = place / str(attempt)
        child = _start(call, folder / result)
        # Every second kill comes near the end, where the files are written.
        time.sleep(duration * (draw.uniform(0, 1.1) if attempt % 2 else draw.uniform(0.85, 1.05)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        if result in found:
            assert found == {result, recipe, report}
            assert {name: _sha(folder / name) for name in expected} == expected
            json.loads((folder / report).read_text())
        else:  # the result comes last, a few microseconds after the others
            assert found in (set(), {report}, {recipe, report})
        states["all" if result in found else "nothing"] += 1
    return states


def _start(call: Sequence[str], output: Path) -> int:
    """The number of a child process that runs the command."""
    from onefold.cli import run

    output.parent.mkdir()
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os._exit(run(["--threads", "1", *call, "-o", str(output)]))
    return child


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
