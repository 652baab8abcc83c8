"""Read a file of torch.save, never running code from it.

The file is read by torch.load with weights_only=True, on the CPU, and memory-mapped if its format
allows it.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from onefold.errors import WeightsError

ADVICE = "save its state_dict() again, as safetensors or with torch.save"
PICKLE = b"\x80"  # first byte of a pickle of protocol 2 or later, torch's format before 1.6
HARMLESS = (  # callables in every file that torch writes
    "torch._utils.",
    "torch.FloatStorage",
    "collections.OrderedDict",
    "torch.storage.",
    "torch.LongStorage",
)


def read_torch(path: Path) -> Any:
    """The object in the torch file at `path`, of plain containers, numbers, texts and tensors.

    Raises:
        WeightsError: the file is empty, cut short or no torch file, or could only be read by
            running code that it names.
    """
    import torch

    with open(path, "rb") as file:
        start = file.read(8)
    if not start:
        raise WeightsError(f"{path} is empty; get the file again.")
    zipped = zipfile.is_zipfile(path)
    if start.startswith(b"PK") and not zipped:
        raise WeightsError(
            f"{path} is cut short: the end of the archive is missing; get the file again."
        )
    if not zipped and not start.startswith(PICKLE):
        raise WeightsError(
            f"{path} is neither a safetensors nor a torch file; give a checkpoint written by one of"
            " the two."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    # A file from anywhere may fail in any way. Every failure means that it cannot be trusted.
    except Exception as error:
        raise _refusal(path, zipped, error) from error


def _refusal(path: Path, zipped: bool, error: Exception) -> WeightsError:
    """The sentence on a file that torch would not read."""
    message = str(error)
    if "TorchScript" in message:
        return WeightsError(
            f"{path} is a TorchScript program, not a checkpoint; load it with torch.jit.load and"
            f" {ADVICE}."
        )
    globals_, words = _inspect(path, zipped)
    if "_parameters" in words and "_modules" in words and globals_:
        return WeightsError(
            f"{path} is a whole pickled network ({globals_[0]}), and reading it would run code, so"
            f" it was refused; {ADVICE}."
        )
    named = re.search(r"GLOBAL ([\w.]+)", message)  # the callable that torch refused
    if "weights_only" in message or "Weights only load failed" in message:
        if named or globals_:
            what = named.group(1) if named else globals_[0]
            return WeightsError(
                f"{path} wants to run code ({what}) while it is read and was refused; {ADVICE},"
                " from a place that you trust."
            )
        return WeightsError(
            f"{path} is damaged or no torch file: its contents cannot be decoded; get the file"
            " again."
        )
    reason = message.strip().split("\n")[0][:150] or type(error).__name__
    return WeightsError(f"{path} is damaged or cut short ({reason}); get the file again.")


def _inspect(path: Path, zipped: bool) -> tuple[list[str], set[str]]:
    """The callables and the texts in the pickle of a file, without running it.

    Torch's own harmless callables are left out.
    """
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                data = archive.read(name)
        else:
            data = path.read_bytes()
    except Exception:
        return [], set()
    stream = io.BytesIO(data)
    globals_: list[str] = []
    words: list[str] = []
    try:
        while stream.tell() < len(data):  # the format before 1.6 is several pickles in a row
            for code, argument, _ in pickletools.genops(stream):
                if isinstance(argument, str):
                    words.append(argument)
                if code.name == "GLOBAL" and isinstance(argument, str):
                    globals_.append(argument.replace(" ", "."))
                elif code.name == "STACK_GLOBAL" and len(words) >= 2:
                    globals_.append(f"{words[-2]}.{words[-1]}")
    except Exception:
        # The pickle is damaged, or the raw tensors of the old format follow. The names that were
        # found before are enough for a message.
        pass
    return [name for name in globals_ if not name.startswith(HARMLESS)], set(words)
