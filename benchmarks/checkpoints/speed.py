"""Merging checkpoints against the floor: reading the inputs and writing one output, plainly.

A base and two models of one architecture (random weights, bfloat16) are written into a temporary
folder. In each round, in another order each time, the floor and every method run once in this
process. All files are warm, and neither side forces its output onto the disk. The floor reads all
bytes of the three inputs file by file into one buffer and writes the last one. It runs twice, and
the second run counts, since a machine that gave idle memory away is slow at first. Ratios are taken
within a round; medians over the rounds are kept. With `--mergekit` the command mergekit-yaml of
another environment runs beside ours on the same documents; its seconds are told with and without
those that `mergekit-yaml --help` takes.

    python -m benchmarks.checkpoints.speed --mergekit .../bin/mergekit-yaml \\
        --out benchmarks/results/checkpoints/speed.json

Seconds of the processor are kept too: they say the same on a machine that has other work to do.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from onefold.checkpoints.document import Document, document_of, yaml_of
from onefold.checkpoints.engine.merging import Settings, merge_documents

# method -> its settings; the base is the first model where the method has one
METHODS: dict[str, dict[str, Any]] = {
    "linear": {"weight": 0.5},
    "slerp": {"t": 0.4},
    "task_arithmetic": {"weight": 0.5},
    "ties": {"weight": 0.5, "density": 0.3},
    "breadcrumbs": {"weight": 0.5, "density": 0.8},
    "dare_ties": {"weight": 0.5, "density": 0.3},
    "model_stock": {},
    "sce": {"select_topk": 0.2},
    "della": {"weight": 0.5, "density": 0.4, "epsilon": 0.1},
}
WITHOUT_BASE = ("linear",)
TWO = ("slerp",)  # the base and one model
ITSELF = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "tie_word_embeddings": True,
    "vocab_size": 32000,
    "torch_dtype": "bfloat16",
}  # of config.json; mergekit looks architectures up
READ = 1 << 22  # bytes that the floor reads and writes at a time


def inner(width: int) -> int:
    """The width inside of a feed-forward block."""
    return 8 * width // 3 // 64 * 64


def shapes(width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a decoder like Llama's, by name."""
    wide, found = inner(width), {"model.embed_tokens.weight": (32000, width)}
    for layer in range(layers):
        stem = f"model.layers.{layer}"
        for name in "qkvo":
            found[f"{stem}.self_attn.{name}_proj.weight"] = (width, width)
        for name in ("gate", "up"):
            found[f"{stem}.mlp.{name}_proj.weight"] = (wide, width)
        found[f"{stem}.mlp.down_proj.weight"] = (width, wide)
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"{stem}.{name}.weight"] = (width,)
    return {**found, "model.norm.weight": (width,)}


def write_models(folder: Path, width: int, layers: int) -> list[Path]:
    """A base and two models near it. Returns their folders."""
    generator = torch.Generator().manual_seed(0)
    base = {
        name: torch.randn(shape, generator=generator) / 50
        for name, shape in shapes(width, layers).items()
    }
    folders = []
    for i in range(3):
        states = {
            name: tensor
            if i == 0
            else tensor + torch.randn(tensor.shape, generator=generator) / 999
            for name, tensor in base.items()
        }
        folders.append(folder / f"m{i}")
        folders[-1].mkdir()
        narrow = {name: tensor.bfloat16() for name, tensor in states.items()}
        save_file(narrow, folders[-1] / "model.safetensors", metadata={"format": "pt"})
        config = {**ITSELF, "hidden_size": width, "num_hidden_layers": layers}
        config |= {"intermediate_size": inner(width)}
        config |= {"num_attention_heads": width // 64}
        (folders[-1] / "config.json").write_text(json.dumps(config))
    return folders


def floor(folders: list[Path], out: Path) -> None:
    """Read all inputs, and write one of them."""
    buffer = memoryview(bytearray(READ))
    with open(out, "wb", buffering=0) as target:
        for i, folder in enumerate(folders):
            with open(folder / "model.safetensors", "rb", buffering=0) as file:
                while size := file.readinto(buffer):
                    if i == len(folders) - 1:
                        target.write(buffer[:size])


def document(name: str, folders: list[Path]) -> Document:
    """The document of one method."""
    settings = METHODS[name]
    if name in WITHOUT_BASE:
        return document_of(folders, name, settings=settings)
    return document_of(folders[1 : 2 if name in TWO else 3], name, folders[0], settings)


def anonymous() -> int:
    """The memory of this process that is of no file, in bytes."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split("RssAnon:")[1].split()[0])


def peak_of(name: str, folders: list[Path], out: Path, threads: int) -> int:
    """The bytes of memory of no file that a merge takes beside what was there before it."""
    before, highest, over = anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not over.wait(0.005):
            highest = max(highest, anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    settings = Settings(threads, 10**9, 10**12, durable=False)
    merge_documents([document(name, folders)], out, settings)
    over.set()
    thread.join()
    return max(0, highest - before)


def peak_alone(name: str, folders: list[Path], out: Path, threads: int) -> int:
    """The same in a process that did nothing else, and so holds no memory for later."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(peak_of, name, folders, out, threads).result()
    shutil.rmtree(out)
    return found


def mergekit(program: str, name: str, folders: list[Path], scratch: Path) -> float:
    """The seconds of mergekit-yaml for one method."""
    text, out = scratch / "document.yml", scratch / "mergekit"
    text.write_text(yaml_of(document(name, folders)))
    start = time.perf_counter()
    command = [program, str(text), str(out)]
    subprocess.run(command, check=True, capture_output=True, cwd=scratch)
    taken = time.perf_counter() - start
    shutil.rmtree(out)
    return taken


def beside(
    program: str, folders: list[Path], scratch: Path, rounds: int, methods: Sequence[str]
) -> dict[str, float]:
    """The seconds of mergekit: its start alone, and medians of some methods."""
    starts: list[float] = []
    subprocess.run([program, "--help"], check=True, capture_output=True)  # its files are warm
    found: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(rounds):
        start = time.perf_counter()
        subprocess.run([program, "--help"], check=True, capture_output=True)
        starts.append(time.perf_counter() - start)
        order = list(methods)
        random.Random(turn).shuffle(order)
        for name in order:
            found[name].append(mergekit(program, name, folders, scratch))
    start = statistics.median(starts)
    medians = {name: statistics.median(times) for name, times in found.items()}
    return {"start": start, **medians}


def measure(folders: list[Path], scratch: Path, rounds: int, threads: int) -> dict[str, Any]:
    """Medians of all methods and the floor."""
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    cpu: dict[str, list[float]] = {name: [] for name in METHODS}
    settings = Settings(threads, 10**9, 10**12, durable=False)
    out = scratch / "out"
    inputs = {name: folders[:2] if name in TWO else folders for name in METHODS}
    floors: dict[str, list[float]] = {name: [] for name in METHODS}
    floors_cpu: dict[str, list[float]] = {name: [] for name in METHODS}
    order = list(METHODS)
    for turn in range(rounds + 1):  # the first one warms up
        random.Random(turn).shuffle(order)
        for name in order:
            floor(inputs[name], scratch / "floor")  # memory that was idle is slow at first
            os.unlink(scratch / "floor")
            start, used = time.perf_counter(), time.process_time()
            floor(inputs[name], scratch / "floor")
            plain, plain_cpu = time.perf_counter() - start, time.process_time() - used
            os.unlink(scratch / "floor")
            given = document(name, folders)
            start, used = time.perf_counter(), time.process_time()
            merge_documents([given], out, settings)
            taken, used = time.perf_counter() - start, time.process_time() - used
            shutil.rmtree(out)
            if turn:
                seconds[name].append(taken)
                cpu[name].append(used)
                floors[name].append(plain)
                floors_cpu[name].append(plain_cpu)
    memory = {name: peak_alone(name, folders, out, threads) for name in METHODS}
    median = statistics.median
    return {
        name: {
            "seconds": round(median(seconds[name]), 3),
            "cpu_seconds": round(median(cpu[name]), 3),
            "floor": round(median(floors[name]), 3),
            "ratio": round(
                median(s / f for s, f in zip(seconds[name], floors[name], strict=True)), 2
            ),
            "cpu_ratio": round(
                median(s / f for s, f in zip(cpu[name], floors_cpu[name], strict=True)), 2
            ),
            "peak_anonymous_mb": round(memory[name] / 1e6),
        }
        for name in METHODS
    }


def main() -> None:
    """Measure, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=14)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--mergekit", help="the program mergekit-yaml")
    parser.add_argument("--mergekit-rounds", type=int, default=1)
    parser.add_argument("--mergekit-methods", nargs="+", default=list(METHODS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    for name in METHODS.keys() - set(given.methods):
        del METHODS[name]
    scratch = Path(tempfile.mkdtemp(prefix="onefold-speed-"))
    try:
        folders = write_models(scratch, given.width, given.layers)
        count = sum(
            torch.Size(shape).numel() for shape in shapes(given.width, given.layers).values()
        )
        load = os.getloadavg()[0]
        methods = measure(folders, scratch, given.rounds, given.threads)
        peer: dict[str, float] = {}
        if given.mergekit:
            names, times = given.mergekit_methods, given.mergekit_rounds
            peer = beside(given.mergekit, folders, scratch, times, names)
        for name in peer.keys() & methods.keys():
            floor_ = methods[name]["floor"]
            whole, own = peer[name], peer[name] - peer["start"]
            methods[name] |= {"mergekit": round(whole, 2), "mergekit_ratio": round(own / floor_, 1)}
    finally:
        shutil.rmtree(scratch)
    result = {
        "parameters": count,
        "dtype": "bfloat16",
        "rounds": given.rounds,
        "threads": given.threads,
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "mergekit_start": round(peer.get("start", 0.0), 2),
        "mergekit_rounds": given.mergekit_rounds if peer else 0,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "methods": methods,
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if given.out is not None:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
