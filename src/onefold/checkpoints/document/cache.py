"""The local cache of Hugging Face, read by its layout alone.

    HF_HUB_CACHE/models--org--name/refs/main              the commit that a branch or tag is at
    HF_HUB_CACHE/models--org--name/snapshots/<commit>/    the files, as links

The cache is the folder in HF_HUB_CACHE, else `hub` in HF_HOME, else `huggingface/hub` in
XDG_CACHE_HOME or ~/.cache. Nothing is imported and nothing is fetched here.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

MAIN = "main"
NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
REVISION = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w-][\w.-]*)*$")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
INDEX = ".index.json"
LARGEST = 2**28  # bytes of an index
LONGEST = 200  # characters of a name or of a revision


@dataclass(frozen=True)
class Snapshot:
    """A model in the cache.

    Attributes:
        folder: its files.
        commit: the name of the commit.
        lacking: the files that its indices name and that are not there; "weights" if it has none.
    """

    folder: Path
    commit: str
    lacking: tuple[str, ...] = ()


def cache_folder() -> Path:
    """The folder of the cache, whether it exists or not."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.path.expandvars(os.environ[variable])).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(os.path.expandvars(home)).expanduser() / "hub"
    above = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(above).expanduser() / "huggingface" / "hub"


def is_name(path: str) -> bool:
    """Whether a path can be the name of a model, as "org/name"."""
    plain = len(path) <= LONGEST and "--" not in path and ".." not in path
    return plain and NAME.match(path) is not None


def snapshot(name: str, revision: str | None = None, cache: Path | None = None) -> Snapshot | None:
    """The snapshot of a model in the cache; None: it is not there.

    Args:
        name: the name of the model.
        revision: a branch, a tag or a commit; None: main.
        cache: the folder of the cache; None: `cache_folder()`.
    """
    wanted = revision or MAIN
    if not is_name(name) or not _is_revision(wanted):
        return None
    model = (cache or cache_folder()) / f"models--{name.replace('/', '--')}"
    try:
        commit = (model / "refs" / wanted).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = wanted
    folder = model / "snapshots" / commit
    if not _is_revision(commit) or "/" in commit or not folder.is_dir():
        return None
    return Snapshot(folder, commit, _lacking(folder))


def _is_revision(text: str) -> bool:
    return len(text) <= LONGEST and ".." not in text and REVISION.match(text) is not None


def revisions(name: str, cache: Path | None = None) -> list[str]:
    """The branches, tags and commits of a model that the cache holds."""
    if not is_name(name):
        return []
    model = (cache or cache_folder()) / f"models--{name.replace('/', '--')}"
    refs = [path.relative_to(model / "refs") for path in (model / "refs").rglob("*")]
    found = {str(path) for path in refs if snapshot(name, str(path), cache) is not None}
    if not found and (model / "snapshots").is_dir():
        found = {path.name for path in (model / "snapshots").iterdir() if path.is_dir()}
    return sorted(found)


def _lacking(folder: Path) -> tuple[str, ...]:
    """What a snapshot that was fetched in part lacks, weights alone."""
    files = [path for path in folder.rglob("*") if path.name.endswith(WEIGHTS)]
    broken = [str(path.relative_to(folder)) for path in files if not path.is_file()]
    indices = [path for path in folder.rglob(f"*{INDEX}") if path.is_file()]
    lacking = [
        str((index.parent / shard).relative_to(folder))
        for index in _preferred(indices)
        for shard in _shards(index)
        if not (index.parent / shard).is_file()
    ]
    if not files and not lacking:
        return ("weights",)
    return tuple(dict.fromkeys([*broken, *lacking]))


def _preferred(indices: list[Path]) -> list[Path]:
    """The indices of safetensors in each folder, where there are some; else all."""
    safe = {path.parent for path in indices if path.name.endswith(f".safetensors{INDEX}")}
    return sorted(
        path
        for path in indices
        if path.parent not in safe or path.name.endswith(f".safetensors{INDEX}")
    )


def _shards(index: Path) -> list[str]:
    try:
        if index.stat().st_size > LARGEST:
            return []
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({str(one) for one in named})
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return []  # the reader of weights tells what is wrong with it
