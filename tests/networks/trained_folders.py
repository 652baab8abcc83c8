"""Folders that commands of training write into, and runs of such commands that are killed at a
moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every network in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.safetensors"))
    }


# Runs the first command once, which imports what is imported late; then, for every line on standard
# input, forks a run and kills it as soon as what the line waits for has happened.
RUNS = """
import contextlib, json, os, signal, sys, tempfile, time
from pathlib import Path
import torch, lightning_fabric
from onefold.cli import run

def happened(what, folder, begun):
    kept = folder / "training.pt"
    if what == "folder":
        return folder.is_dir()
    if what.startswith("kept"):
        if kept.exists():
            begun.add(kept.stat().st_ino)
        return len(begun) >= int(what[4:])
    if what == "writing":
        return any(folder.glob(".results.*.tmp"))
    return False

def die_while_placing(folder):
    # putting all results into place takes less than a moment between two looks
    replace = os.replace
    def replace_once(source, target):
        replace(source, target)
        if ".results." in str(source) and str(target).endswith(".safetensors"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = replace_once

def load(arguments):
    with tempfile.TemporaryDirectory() as place, open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            run([*arguments[:-1], f"{place}/loading"])

loaded = False
for line in sys.stdin:
    what, arguments = json.loads(line)
    if not loaded:
        load(arguments)
        loaded = True
    folder, begun = Path(arguments[-1]), set()
    child = os.fork()
    if child == 0:
        sys.stdout = open(os.devnull, "w")
        if what == "placing":
            die_while_placing(folder)
        os._exit(run(arguments))
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            code = os.waitstatus_to_exitcode(status)
            print("killed" if code == -signal.SIGKILL else f"ended {code}", flush=True)
            break
        if happened(what, folder, begun):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print("killed", flush=True)
            break
        time.sleep(0.0005)
"""


@contextmanager
def killed_runs() -> Iterator[Callable[[str, list[str]], str]]:
    """Gives a function that runs the command, and kills it at a moment: `runs("kept2", [...])` says
    "killed" or "ended 0".
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", RUNS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:

        def call(what: str, arguments: list[str]) -> str:
            stdin: IO[str] | None = process.stdin
            assert stdin is not None
            assert process.stdout is not None
            stdin.write(json.dumps([what, [str(a) for a in arguments]]) + "\n")
            stdin.flush()
            return process.stdout.readline().strip()

        yield call


def check_killed_at_every_moment(
    runs: Callable[[str, list[str]], str], call: list[str], place: Path
) -> None:
    """A run that is killed again and again leaves the bytes of one that never was, and nobody loses
    it by leaving out --resume.
    """
    folder, whole = place / "killed", place / "whole"
    assert runs("never", [*call, "-o", whole]) == "ended 0"
    for moment in ("folder", "kept1", "kept2", "kept2", "writing", "placing"):
        assert runs(moment, [*call, "--resume", "-o", folder]) == "killed", moment
        assert not (folder / "recipe.yaml").exists() or (folder / "training.pt").exists()
    assert (folder / "training.pt").exists()
    assert runs("never", [*call, "-o", folder]) == "ended 2"
    assert runs("never", [*call, "--resume", "-o", folder]) == "ended 0"
    assert sums(folder) == sums(whole)
    assert {path.name for path in folder.iterdir()} == {
        path.name for path in whole.iterdir()
    }  # no litter
    for name in ("report.json", "recipe.yaml"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert runs("never", [*call, "--resume", "-o", folder]) == "ended 0"  # already finished
    assert sums(folder) == sums(whole)
