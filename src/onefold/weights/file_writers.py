"""Write one file: by the library of safetensors, or by torch.save.

Both hide what the operating system said of a failed write. The functions here raise it as OSError.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor


def write_safetensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]
) -> None:
    """Write a new safetensors file. Equal contents give equal bytes.

    Args:
        tensors: contiguous, on the CPU, without shared memory.
        path: the file, which must not exist.
        metadata: texts to store beside the tensors.

    Raises:
        OSError: the operating system refused.
    """
    from safetensors.torch import save_file

    path.touch(exist_ok=False)
    # The library may write a file that only its owner can read. This user's files usually get this.
    mode = path.stat().st_mode
    with errors_of_system():
        save_file(dict(tensors), path, metadata={"format": "pt", **metadata})
        os.chmod(path, mode)
    _sort_metadata(path)


@contextlib.contextmanager
def errors_of_system() -> Iterator[None]:
    """Errors of the operating system that the library safetensors tells, as OSError."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def write_torch(content: object, path: Path) -> None:
    """Write a new file by torch.save.

    Args:
        content: the object to save.
        path: the file, which must not exist.

    Raises:
        OSError: the operating system refused.
    """
    with open(path, "xb") as file:
        recorder = _Recorder(file.write)
        try:
            torch.save(content, recorder)  # type: ignore[arg-type]
            file.flush()
        except RuntimeError as error:  # torch's writer hides what the operating system said
            raise recorder.error or OSError(errno.EIO, str(error).split("\n")[0]) from error


class _Recorder:
    """A file for torch.save, which remembers the first error of writing to it."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        """Nothing to do: torch.save asks for the method."""


def _sort_metadata(path: Path) -> None:
    """Sort the entries of the metadata, which the library writes in a random order."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))
