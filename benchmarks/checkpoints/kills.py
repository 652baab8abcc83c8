"""A merge is killed at random moments: there is nothing, a complete output, or a run to go on with.

Tiny models are merged by ties into several files of weights. A process that does so is
killed by SIGKILL after a random time, every other one while it replaces an older output. After each
kill an output that is there must be complete, byte for byte. The same merge then runs to its end
with another number of threads, and must give the same bytes.

    python -m benchmarks.checkpoints.kills --out benchmarks/results/checkpoints/kills.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from onefold.checkpoints.document import Document, document_of
from onefold.checkpoints.engine.journal import staging_folder
from onefold.checkpoints.engine.merging import Settings, merge_documents

LAYERS, WIDTH = 12, 24
SHARD = 8000  # bytes


def write_models(folder: Path) -> list[Path]:
    """A base and two models of a dozen layers. Returns their folders."""
    folders = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        state = {
            f"layers.{layer}.{name}.weight": torch.randn(WIDTH, WIDTH, generator=generator)
            for layer in range(LAYERS)
            for name in ("up", "down")
        }
        folders.append(folder / f"m{seed}")
        folders[-1].mkdir()
        save_file(state, folders[-1] / "model.safetensors")
        (folders[-1] / "config.json").write_text(json.dumps({"num_hidden_layers": LAYERS}))
    return folders


def merge(document: Document, out: Path, threads: int, force: bool) -> Any:
    """One merge into many files."""
    return merge_documents([document], out, Settings(threads, 10**6, SHARD, force))


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files that do not tell the folder's name."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "README.md"}


def killed(document: Document, out: Path, force: bool, after: float) -> None:
    """A process merges, and is killed after some seconds."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=merge, args=(document, out, 2, force))
    process.start()
    time.sleep(after)
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()


def measure(folder: Path, moments: int) -> dict[str, Any]:
    """Kill as often as `moments`, and count what was found after each kill."""
    folders, out = write_models(folder), folder / "out"
    document = document_of(folders[1:], "ties", folders[0], {"density": 0.4})
    files = merge(document, folder / "whole", 1, False).files
    start = time.perf_counter()
    merge(document, folder / "timed", 2, False)
    took, whole = time.perf_counter() - start, contents(folder / "whole")
    found: Counter[str] = Counter()
    chance = random.Random(0)
    for moment in range(moments):
        force = moment % 2 == 1
        if not force and out.exists():
            shutil.rmtree(out)
        killed(document, out, force, chance.random() * took * 1.2)
        there, begun = out.exists(), staging_folder(out).exists()
        if there:
            assert contents(out) == whole, "an output is not complete"
        found["complete" if there and not begun else "begun" if begun else "nothing"] += 1
        if not there or force:
            made = merge(document, out, 1, there)
            found["gone on with"] += made.resumed > 0
        assert contents(out) == whole, "the run after a kill gave other bytes"
        assert not staging_folder(out).exists(), "a hidden folder was left"
    return {
        "moments": moments,
        "files_of_weights": len(files),
        "found": dict(sorted(found.items())),
    }


def main() -> None:
    """Kill, check, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    scratch = Path(tempfile.mkdtemp(prefix="onefold-kills-"))
    try:
        result = measure(scratch, given.moments)
    finally:
        shutil.rmtree(scratch)
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if given.out is not None:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
