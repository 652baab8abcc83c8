"""Fingerprints (SHA-256) of a file's bytes, of a folder, and of a state dict's contents."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from onefold.errors import WeightsError
from onefold.weights.files import files_of
from onefold.weights.folders import CONFIG
from onefold.weights.paths import check_ordinary

if TYPE_CHECKING:
    from torch import Tensor


def checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file at `path`, in hexadecimal.

    That of a folder is over the names and checksums of its config and its files of weights.

    Raises:
        WeightsError: the file cannot be read.
    """
    digest = hashlib.sha256()
    if os.path.isdir(path):
        for read in sorted(_read_in(path)):
            digest.update(f"{json.dumps(read.name)} {checksum(read)}\n".encode())
        return digest.hexdigest()
    try:
        check_ordinary(path)
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror or error}); check the path."
        ) from error
    return digest.hexdigest()


def state_checksum(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all tensors, in hexadecimal.

    The order of the names does not matter, nor does the file that holds the state.
    """
    import torch  # the checksum of a file needs none of it

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        head = json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode()
        digest.update(len(head).to_bytes(8, "little") + head)
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_in(folder: str | os.PathLike[str]) -> list[Path]:
    """The files of a folder that a network is read from."""
    config = Path(folder) / CONFIG
    return [*files_of(folder)[0], *([config] if config.is_file() else [])]


def short(digest: str | None) -> str:
    """A checksum as readers are shown it."""
    return f"{(digest or 'unknown')[:12]}…"
