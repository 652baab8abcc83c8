"""Both sides carried out: folders of tiny models in, one output folder for each configuration."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onefold
from benchmarks.checkpoints.differential import models
from benchmarks.checkpoints.differential.configurations import Configuration
from onefold.errors import OnefoldError

DRIVER = Path(__file__).with_name("mergekit_driver.py")


@dataclass(frozen=True)
class Task:
    """A document to carry out.

    Attributes:
        folder: of the models that it names.
        text: the document.
        out: the folder of the result.
        seed: of mergekit's random methods.
        stable: mergekit's sorts leave equal elements in their order.
    """

    folder: Path
    text: str
    out: Path
    seed: int = 0
    stable: bool = False


def write_models(root: Path, configurations: Iterable[Configuration]) -> None:
    """Write all models that the configurations name."""
    for folder in sorted({one.models for one in configurations}):
        family, dtype = folder.split("-")
        for model in models.MODELS:
            models.write(root / folder, family, model, dtype)


def within(configuration: Configuration, dtype: str) -> str:
    """The document with a dtype within, and with that of the configuration in the result."""
    text = configuration.text
    found = [line for line in text.splitlines() if line.startswith(("dtype:", "out_dtype:"))]
    out = dict(line.split(": ") for line in found)
    written = out.get("out_dtype") or out.get("dtype") or configuration.dtype
    for line in found:
        text = text.replace(f"{line}\n", "")
    return f"{text}dtype: {dtype}\nout_dtype: {written}\n"


def run_mergekit(python: str, tasks: Sequence[Task], scratch: Path) -> tuple[Any, dict[Path, str]]:
    """Carry out documents with mergekit in one process.

    Args:
        python: the interpreter of mergekit's environment.
        tasks: the documents.
        scratch: a folder for the list of tasks.

    Returns:
        Versions and declared methods of mergekit; for each output what went wrong, or "".
    """
    listed = scratch / "tasks.json"
    content = [
        {**task.__dict__, "folder": str(task.folder), "out": str(task.out)} for task in tasks
    ]
    listed.write_text(json.dumps(content))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        [python, str(DRIVER), str(listed)], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"mergekit's driver failed: {done.stderr[-2000:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return lines[0], {Path(line["out"]): line["problem"] for line in lines[1:]}


def run_onefold(task: Task, as_mergekit: bool = False) -> tuple[str, list[str]]:
    """Carry out one document here. Returns what went wrong, or "", and what was told."""
    file = task.out.with_name(f"{task.out.name}.yml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(task.text)
    with inside(task.folder), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            made = onefold.merge_checkpoints(file, task.out, as_mergekit=as_mergekit, threads=1)
        except OnefoldError as error:
            return str(error), []
    return "", [*made.notes, *(str(one.message) for one in told)]


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, so that documents name models as they stand there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
