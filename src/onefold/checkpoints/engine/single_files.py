"""A merge of single files into a single file, with what people's tools read in its header.

A file of Stable Diffusion keeps the `modelspec.*` texts of the donor; its title, its hash and what
it was merged from are told anew (https://github.com/Stability-AI/ModelSpec, version 1.0.1).
`sd_merge_models` and `sd_merge_recipe` are written as the web UI of AUTOMATIC1111 and the tools
around it write and read them.

A header stands before the tensors, and hashes are known behind them: their places are kept by
texts of the same length.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from onefold._version import __version__
from onefold.checkpoints.document import Reference, yaml_of
from onefold.checkpoints.layouts import Layout
from onefold.checkpoints.layouts.ancestry import MODELS, RECIPE, table
from onefold.checkpoints.plan.planning import Plan
from onefold.checkpoints.plan.shards import shards_of
from onefold.errors import OutputError
from onefold.weights.atomic import sync

ENDING = ".safetensors"
SPEC = "modelspec."
ANEW = ("title", "merged_from", "date")  # beside hashes; a date of the donor would be wrong
SD = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.")
WHOLE = 1 << 62  # bytes of a file at most
BLOCK = 1 << 22  # bytes that are hashed at a time
LEGACY = (0x100000, 0x10000)  # where the web UI's short hash is taken, and of how many bytes
ROLES = ("primary", "secondary", "tertiary")


def is_single(out: Path) -> bool:
    """Whether an output is to be a single file, by its name."""
    return out.suffix == ENDING


def check_single(out: Path, layouts: Mapping[Reference, Layout]) -> None:
    """Refuse a single file as the output of folders, whose configs would be lost.

    Raises:
        OutputError: so it is.
    """
    for model, layout in layouts.items():
        if layout.path.is_dir():
            raise OutputError(
                f"{out} is the name of a file, and {model} is a folder with more than weights; give"
                " the output the name of a folder."
            )


def as_single(plan: Plan, name: str) -> Plan:
    """The plan with one file of weights.

    Args:
        plan: a plan whose models are files.
        name: the name of the file.
    """
    metadata = metadata_of(plan, Path(name).stem)
    return replace(plan, shards=shards_of(plan.jobs, WHOLE, name.removesuffix(ENDING), metadata))


def metadata_of(plan: Plan, title: str) -> dict[str, str]:
    """The texts of the header, with placeholders where hashes will stand.

    Args:
        plan: the plan.
        title: of the result.
    """
    document, donor = plan.document, plan.layouts[plan.donor]
    models = {str(model): plan.layouts[model] for model in document.models()}
    names = {model: _title(layout).replace(",", " ") for model, layout in models.items()}
    found = {
        "format": "pt",
        "merge_method": document.method,
        "merged_from": ", ".join(names.values()),
        "onefold_document": yaml_of(document),
    }
    spec = {key: text for key, text in donor.metadata.items() if key.startswith(SPEC)}
    if spec:
        found |= {key: text for key, text in spec.items() if _stays(key.removeprefix(SPEC))}
        found |= {
            f"{SPEC}title": title,
            f"{SPEC}merged_from": ", ".join(names.values()),
            f"{SPEC}hash_sha256": f"0x{_placeholder('result')}",
        }
    if spec or any(job.name.startswith(SD) for job in plan.jobs):
        found[RECIPE] = json.dumps(_recipe(plan, title))
        found[MODELS] = json.dumps(_models(plan))
    return found


def fill_hashes(plan: Plan, file: Path, hashes: Mapping[str, str]) -> None:
    """Enter the hashes in the header of the written file.

    Args:
        plan: the plan of a single file.
        file: the file.
        hashes: of the models' files, by path.

    Raises:
        OSError: the disk refuses.
    """
    (shard,) = plan.shards
    header = shard.header
    for path, found in hashes.items():
        header = header.replace(_placeholder(path).encode(), found.encode())
    own = _placeholder("result").encode()
    if own in header:
        header = header.replace(own, _hash(file, len(header)).encode())
    with open(file, "r+b") as stream:
        stream.write(header)


def files_to_hash(plan: Plan) -> list[str]:
    """The models' files whose hashes the header will hold."""
    (shard,) = plan.shards
    paths = dict.fromkeys(os.fspath(layout.path) for layout in plan.layouts.values())
    return [path for path in paths if _placeholder(path).encode() in shard.header]


@contextlib.contextmanager
def hashing(paths: Sequence[str]) -> Iterator[Callable[[], dict[str, str]]]:
    """Hash whole files beside other work; the work may end before.

    Yields:
        A function that waits for the hashes: path -> SHA-256.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = {path: pool.submit(_hash, Path(path), 0, stop) for path in paths}
        try:
            yield lambda: {path: one.result() for path, one in running.items()}
        finally:
            stop.set()


def place_single(folder: Path, name: str, target: Path, durable: bool) -> None:
    """Give the finished file its name, and remove the folder that it was written in.

    Raises:
        OSError: the disk refuses.
    """
    if durable:
        sync(folder / name)
    os.replace(folder / name, target)
    if durable:
        sync(target.parent)
    folder.rmdir()


def _stays(key: str) -> bool:
    """Whether a key of the donor's modelspec is true of the result."""
    return key not in ANEW and not key.startswith("hash_")


def _title(layout: Layout) -> str:
    return layout.metadata.get(f"{SPEC}title") or layout.path.stem


def _recipe(plan: Plan, title: str) -> dict[str, Any]:
    """How it was merged. Other tools' keys are set where they mean the same here."""
    document = plan.document
    paths = [os.fspath(plan.layouts[model].path) for model in document.models()]
    hashes = [_placeholder(path) for path in paths]
    roles = {
        f"{role}_model_hash": hashes[number] if number < len(hashes) else None
        for number, role in enumerate(ROLES)
    }
    return {
        "type": "onefold",
        "version": __version__,
        **roles,
        "model_hashes": hashes,
        "interp_method": document.method,
        "custom_name": title,
        "document": yaml_of(document),
    }


def _models(plan: Plan) -> dict[str, Any]:
    """The models by their hashes, and before them what they say of their own ancestors."""
    found: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for model in plan.document.models():
        layout = plan.layouts[model]
        found |= table(layout.metadata, MODELS)
        own[_placeholder(os.fspath(layout.path))] = {
            "name": layout.path.name,
            "legacy_hash": _legacy_hash(layout.path),
            "sd_merge_recipe": table(layout.metadata, RECIPE) or None,
        }
    return found | own


def _placeholder(what: str) -> str:
    """A text that stands where a hash will stand; it has a hash's length."""
    return hashlib.sha256(f"onefold placeholder {what}".encode()).hexdigest()


def _hash(file: Path, start: int, stop: threading.Event | None = None) -> str:
    """The SHA-256 of a file from a place on; of a part of it if it is stopped."""
    told = hashlib.sha256()
    with open(file, "rb") as stream:
        stream.seek(start)
        while (stop is None or not stop.is_set()) and (part := stream.read(BLOCK)):
            told.update(part)
    return told.hexdigest()


def _legacy_hash(file: Path) -> str:
    """The short hash of the web UI's first versions."""
    with open(file, "rb") as stream:
        stream.seek(LEGACY[0])
        return hashlib.sha256(stream.read(LEGACY[1])).hexdigest()[:8]
