"""A process that ended while others waited for it: how it ended, in words of this library.

The system ends a process by SIGKILL when memory runs out. torch tells of it by a number, by the
error of a transport, or, for a worker of a DataLoader, by an error that comes in the midst of
whatever the main process does, as it is raised by the handler of SIGCHLD.
"""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onefold.errors import DataError

MEMORY = "was killed (SIGKILL), as the system does when memory runs out"
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")
# torch/csrc/DataLoader.cpp and torch/utils/data/dataloader.py
WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\)"
    r" (?:is killed by signal: ([\w ]+)|exited unexpectedly(?: with exit code (\d+))?)"
)
# Where torch takes over tensors from a worker, which fails in any way if the worker is gone.
HANDED_OVER = ("resource_sharer.py", "reductions.py")
# gloo's and NCCL's words for a process at the other end that is gone
PEER = re.compile(
    r"by peer|Connection refused|remote process exited|cannot reach the other processes"
)


def ending(status: int) -> str:
    """How a process ended, as the end of a clause.

    Args:
        status: its exit status, below 0 for the signal that ended it.
    """
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        return f"was ended by signal {-status}"
    if name == "SIGKILL":
        return MEMORY
    return f"crashed ({name})" if name in CRASHES else f"was ended from outside ({name})"


def lost_peer(error: BaseException) -> bool:
    """Whether an error of a process tells that another process is gone."""
    return any(PEER.search(str(one)) for one in _chain(error))


@contextmanager
def workers_named() -> Iterator[None]:
    """Name the loss of a worker of a DataLoader, wherever torch raises it.

    Raises:
        DataError: a worker ended.
    """
    try:
        yield
    except Exception as error:
        if (told := _lost_worker(error)) is None:
            raise
        raise DataError(
            f"A worker process of the data loader {told}; give the loader fewer workers"
            " (num_workers=0 shows an error of the data set itself) or smaller batches, and run"
            " again."
        ) from error


def _lost_worker(error: BaseException) -> str | None:
    """How a worker ended, if that is what an error, or one that it came from, tells."""
    found = [match for one in _chain(error) if (match := WORKER.search(str(one)))]
    if isinstance(error, DataError) and str(error).startswith("A worker process"):
        return None  # told already, by a call inside
    for match in reversed(found):  # the first error knows most
        words, code = match.groups()
        if code is not None:
            return ending(int(code))
        if words is not None:
            numbers = {signal.strsignal(one): one for one in signal.Signals}
            words = words.strip()
            return ending(-numbers[words]) if words in numbers else f"was ended by '{words}'"
    return "has ended" if found or any(map(_handed_over, _chain(error))) else None


def _handed_over(error: BaseException) -> bool:
    """Whether tensors of a worker could not be taken over."""
    return isinstance(error, (OSError, EOFError)) and any(
        Path(frame.filename).name in HANDED_OVER and "multiprocessing" in frame.filename
        for frame in traceback.extract_tb(error.__traceback__)
    )


def _chain(error: BaseException) -> list[BaseException]:
    """An error, and those that it came from."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found
