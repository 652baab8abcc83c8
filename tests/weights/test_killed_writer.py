"""A writer killed at any moment leaves the old output, the new one, or none."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import onefold

KILLS = int(os.environ.get("ONEFOLD_KILLS", "15"))  # raise it for a longer trial

# Imports torch once, then for every number on standard input forks a writer, and kills it that many
# times later than its first output took.
WRITERS = """
import os, signal, sys, time, torch, onefold
from pathlib import Path
from onefold import weights
mode, path = sys.argv[1], Path(sys.argv[2])

def write(value):
    if mode == "folder":
        with weights.atomic_directory(path, force=True) as folder:
            for name in "abc":
                (folder / name).write_text(str(value) * 1000)
    else:
        state = {name: torch.full((50_000,), float(value)) for name in "abc"}
        onefold.save(state, path, force=True, max_shard_bytes=200_000 if mode == "shards" else None)

for number, line in enumerate(sys.stdin):
    done, tell = os.pipe()
    child = os.fork()
    if child == 0:
        value = 1_000_000 + 1000 * number
        while True:
            value += 1
            write(value)
            os.write(tell, b"x")
    os.close(tell)
    started = time.monotonic()
    # The first output is complete; the kill comes at a random moment of the ones after it.
    os.read(done, 1)
    time.sleep(float(line) * (time.monotonic() - started))
    gone = os.waitpid(child, os.WNOHANG)[0]
    if not gone:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(done)
    print("failed by itself" if gone else "killed", flush=True)
"""


def value_of(output: Path, mode: str) -> float:
    """The one value that the whole output was written with; fails where the output is broken or
    mixed.
    """
    if mode == "folder":
        texts = {(output / name).read_text() for name in "abc"}
        assert len(texts) == 1
        text = texts.pop()
        assert len(text) == 7000
        return float(text[:7])
    state = onefold.load(output)
    assert set(state) == set("abc")
    values = {value for tensor in state.values() for value in tensor.unique().tolist()}
    assert len(values) == 1
    return values.pop()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("mode", ["safetensors", "pt", "shards", "folder"])
def test_killed_writer(tmp_path: Path, mode: str) -> None:
    path = tmp_path / {"folder": "out", "pt": "a.pt"}.get(mode, "a.safetensors")
    output = tmp_path / "a.safetensors.index.json" if mode == "shards" else path
    chance = random.Random(0)
    seen: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS, mode, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(KILLS):
            process.stdin.write(f"{chance.uniform(0, 2)}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "killed\n"
            if output.exists():
                seen.append(value_of(output, mode))
            for entry in tmp_path.iterdir():
                hidden = entry.name.startswith(".")
                shard = mode == "shards" and re.fullmatch(
                    r"a-\d{5}-of-\d{5}\.safetensors", entry.name
                )
                assert hidden or shard or entry == output, entry
    assert seen  # a complete output is there between two writes; how often is up to the disk
    assert seen == sorted(seen)  # an older output never comes back
