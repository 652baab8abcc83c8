"""Complaints 2 and 3 of users of mergekit, and a smaller one: memory, threads, work done twice.

No test here takes the time: that is done by benchmarks/checkpoints/speed.py.

Source: the issues of github.com/arcee-ai/mergekit; the numbers stand with each test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tiny_checkpoints as tiny
import torch
from fine_tunes import family, linear, put, written
from safetensors.torch import save_file

import onefold as of
from onefold.checkpoints.document import read_documents
from onefold.checkpoints.engine.journal import staging_folder
from onefold.checkpoints.engine.merging import Settings, merge_documents
from onefold.checkpoints.methods import Method, methods
from onefold.errors import OutputError

MB = 1_000_000
SIDE = 4096  # of a float32 matrix of 67 MB

MEASURED = """
import json, sys, threading
import onefold

def anonymous():
    text = open("/proc/self/status").read()
    return 1024 * int(text.split("RssAnon:")[1].split()[0])

def measured(document, small, folder):
    how = dict(threads=2, max_memory="8MB")
    onefold.merge_checkpoints(small, folder + "-small", **how)  # all is imported and has started
    before, peak, ended = anonymous(), [0], threading.Event()

    def watch():
        while not ended.wait(0.0005):
            peak[0] = max(peak[0], anonymous())

    watching = threading.Thread(target=watch)
    watching.start()
    made = onefold.merge_checkpoints(document, folder, **how)
    ended.set()
    watching.join()
    return peak[0] - before, made.estimate.memory

print(json.dumps([measured(*one) for one in json.loads(sys.argv[1])]))
"""
METHODS = ("linear", "ties", "dare_ties", "model_stock")


def content(method: str, paths: list[str]) -> dict[str, Any]:
    if method == "linear":
        return linear(paths)
    found: dict[str, Any] = {"merge_method": method, "base_model": paths[0]}
    found["models"] = [{"model": path} for path in paths[1:]]
    if method != "model_stock":
        found["parameters"] = {"weight": 0.5, "density": 0.5}
    return found


# 549, 107
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_tensor_larger_than_the_bound_is_merged_within_it(root: Path, tmp_path: Path) -> None:
    """Complaint 2: memory grows until the machine is stopped."""
    paths, small = [], []
    for seed in range(3):
        table = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
        paths.append(put(tmp_path / f"m{seed}", {"w": table}))
        small.append(put(tmp_path / f"s{seed}", {"w": table[:64, :64].contiguous()}))
    merges = [
        [
            str(written(tmp_path / f"{name}.yml", content(name, paths))),
            str(written(tmp_path / f"{name}-small.yml", content(name, small))),
            str(tmp_path / name),
        ]
        for name in METHODS
    ]
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, json.dumps(merges)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    tensor = 4 * SIDE * SIDE
    for name, (peak, stated) in zip(METHODS, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert 0 < stated < tensor / 2, name
        # Allocators and the threads' first blocks come on top of what the formula counts.
        assert peak < stated + 8 * MB, name


# 549, 107
def test_the_memory_that_a_merge_will_take_is_told_before(tmp_path: Path, onefold: Any) -> None:
    """Complaint 2: nobody knows beforehand what memory it takes."""
    paths = family(tmp_path, tiny.llama)
    document = written(tmp_path / "c.yml", linear(paths))
    told = onefold("merge", document, "-o", tmp_path / "o", "--dry-run", "--max-memory", "5MB")
    assert "of memory beside torch's own" in told.out + told.err
    assert not (tmp_path / "o").exists()


# 329, 548, 583
def test_tensors_are_in_work_at_the_same_time(tmp_path: Path) -> None:
    """Complaint 3: one core works and the others wait."""
    meeting, met = threading.Barrier(2), threading.Event()

    @methods.register("test_meeting")
    @dataclass(frozen=True)
    class Meeting(Method):
        """The first model, once two tensors are in work."""

        cut: ClassVar = "whole"
        most: ClassVar = 1

        def block(self, prepared: Any, plan: Any, start: int, stop: int) -> Any:
            if not met.is_set():
                meeting.wait(60)  # broken, and an error, if nobody else comes
                met.set()  # the sample that is read back is computed by one thread
            return prepared.inputs.read(0, start, stop)

    try:
        state = {"a": torch.ones(4, 4), "b": torch.zeros(4, 4)}
        given = {"merge_method": "test_meeting", "models": [{"model": put(tmp_path / "m", state)}]}
        document = written(tmp_path / "c.yml", given)
        made = of.merge_checkpoints(document, tmp_path / "o", threads=2)
        assert torch.equal(tiny.stored(made.path)["a"], state["a"])
        assert met.is_set()
    finally:
        methods.unregister("test_meeting")


def chain(tmp_path: Path, weight: float = 0.5) -> tuple[Path, list[str]]:
    """Two documents, the second of which refers to the first."""
    paths = [str(tmp_path / name) for name in ("base", "tuned0", "tuned1")]
    if not Path(paths[0]).exists():
        paths = family(tmp_path, tiny.llama)
    first = linear(paths[:2], weight, 1 - weight, name="half")
    return written(tmp_path / "c.yml", first, linear(["half", paths[2]])), paths


class StoppedError(Exception):
    """In place of a kill."""


def stopped(document: Path, out: Path, files: int) -> None:
    """Merge, and stop after some finished files of weights."""
    finished: list[str] = []

    def told(file: str) -> None:
        finished.append(file)
        if len(finished) == files:
            raise StoppedError

    with pytest.raises(StoppedError):
        merge_documents(read_documents(document), out, Settings(1, MB, 5 * 10**9, told=told))


# 446
def test_finished_documents_are_not_merged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interruption several stages begin from the start."""
    document, paths = chain(tmp_path)
    stopped(document, tmp_path / "o", 2)  # the first document is done, the second is not
    half = tmp_path / "o-half" / "model.safetensors"
    before = half.stat().st_mtime_ns
    assert not (tmp_path / "o").exists()
    made = of.merge_checkpoints(document, tmp_path / "o")
    assert half.stat().st_mtime_ns == before
    assert made.before[0].resumed == 1
    assert not staging_folder(tmp_path / "o").exists()
    states = [tiny.stored(Path(path)) for path in paths]
    for name, tensor in tiny.stored(made.path).items():
        expected = states[0][name] / 4 + states[1][name] / 4 + states[2][name] / 2
        torch.testing.assert_close(tensor, expected)


# 446
def test_a_finished_document_that_is_another_one_is_not_taken(tmp_path: Path) -> None:
    """As above: a stage whose settings or inputs changed is never taken for the same."""
    document, paths = chain(tmp_path)
    stopped(document, tmp_path / "o", 2)
    chain(tmp_path, 0.25)
    with pytest.raises(OutputError, match="exists already"):
        of.merge_checkpoints(document, tmp_path / "o")
    chain(tmp_path)
    state = tiny.stored(Path(paths[0]))
    save_file({name: tensor * 2 for name, tensor in state.items()}, Path(paths[0]) / "new")
    os.replace(Path(paths[0]) / "new", Path(paths[0]) / "model.safetensors")
    with pytest.raises(OutputError, match="exists already"):
        of.merge_checkpoints(document, tmp_path / "o")
    made = of.merge_checkpoints(document, tmp_path / "o", force=True)
    assert made.before[0].resumed == 0
