"""One damaged file read: how it ends, how long it takes, and what memory it takes.

Faults are an error that is not one of onefold's, more than `SECONDS` of processor time, memory that
could not be had, and tensors or Python objects that are far larger than the file.
"""

from __future__ import annotations

import re
import resource
import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onefold

SECONDS = 5.0  # of processor time for one file
ROOM = 1 << 29  # bytes of address space beside what the process has when it begins
TENSORS = 100, 1 << 16  # tensors may take so many times the file's size, and so much beside
OBJECTS = 200, 1 << 21  # as well as Python's objects, those of messages and tracebacks among them
GROWTH = 1 << 26  # bytes that the process may grow by one file
ENDINGS = (  # beginnings of what a message says of the file -> the kind of ending
    ("archive: bytes are not those written", r"not those that were written|Bad CRC"),
    (
        "archive: no directory",
        r"File is not a zip|zipfiles that span|ad magic number for (central|end)",
    ),
    (
        "archive: directory and records differ",
        r"directory|does not end within|behind the end|listed",
    ),
    ("archive: packed", r"packed by a method|claims to unpack"),
    ("archive: another byte order", r"byte order"),
    ("pickle: a storage", r"torch file \(.*storage"),
    ("pickle: a tensor", r"torch file \(.*(tensor|shape|parameter|dtype)"),
    ("pickle: no pickle, or not whole", r"torch file \("),
    ("cut short", r"is cut short|is empty"),
    ("header: too long", r"header claims"),
    ("header: not JSON", r"since it is not JSON"),
    ("header: a name twice", r"a name occurs twice"),
    ("header: no table", r"its header is not a table"),
    ("header: metadata", r"its metadata is not|damaged metadata|is tied to"),
    ("header: an entry lacks a key", r"must have dtype, shape and"),
    ("header: a name", r"is no name of a tensor"),
    ("header: a dtype", r"in the dtype"),
    ("header: a shape", r"the shape of"),
    ("header: offsets", r"the offsets of"),
    ("header: shape and offsets do not fit", r"but its offsets span"),
    ("header: tensors overlap", r"overlap those of"),
    ("header: a gap between tensors", r"belong to no tensor"),
    ("bytes behind the last tensor", r"bytes after its last tensor"),
    ("neither kind of file", r"neither a safetensors"),
    ("wants to run code", r"wants to run code|whole pickled network"),
    ("no state dict", r"holds no tensors|not a state dict|no state dict|holds the state dicts"),
    ("no plain tensors", r"cannot be averaged|is quantised|integer weights"),
    ("not finite", r"is not finite"),
    ("too large in memory", r"would take \d+ in memory"),
    ("an archive of other files", r"is a zip without|no torch file; unpack|several torch files"),
    ("refused by safetensors", r"cannot be read \("),
    ("TorchScript", r"TorchScript"),
)
NO_MEMORY = re.compile(r"MemoryError|allocate memory|bad_alloc|alloc_cpu|Cannot allocate")


class TimeUp(BaseException):
    """The time for one file is over."""


@dataclass(frozen=True)
class Outcome:
    """How the reading of one file ended.

    Attributes:
        ending: "read", a kind of refusal, or "FAULT: ..." in words.
        message: what the refusal says.
    """

    ending: str
    message: str = ""

    @property
    def fault(self) -> bool:
        """Whether it ended as no reading should."""
        return self.ending.startswith("FAULT")


@contextmanager
def limited() -> Iterator[None]:
    """Limits of time and memory for what is read within. The process keeps its old ones after."""
    old = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGPROF, _time_up)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
        signal.signal(signal.SIGPROF, before)


def trial(path: Path, *, traced: bool = False) -> Outcome:
    """Read the file at `path` within `limited`; with `traced` Python's objects are counted."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if traced:
        tracemalloc.start()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        outcome = _read(path)
    except TimeUp:
        outcome = Outcome(f"FAULT: more than {SECONDS:.0f} s")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        peak = tracemalloc.get_traced_memory()[1] if traced else 0
        if traced:
            tracemalloc.stop()
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if not outcome.fault and (grown > GROWTH or peak > _most(path, OBJECTS)):
        return Outcome(f"FAULT: took {max(peak, grown)} bytes", outcome.message)
    return outcome


def ending_of(message: str) -> str:
    """The kind of a refusal."""
    return next((kind for kind, said in ENDINGS if re.search(said, message)), "another refusal")


def _read(path: Path) -> Outcome:
    try:
        state = onefold.load(path)
    except onefold.OnefoldError as error:
        text = str(error).replace(str(path), "FILE")
        if NO_MEMORY.search(text):
            return Outcome("FAULT: memory that could not be had", text)
        return Outcome(ending_of(text), text)
    except Exception as error:
        return Outcome(f"FAULT: {type(error).__name__}", str(error)[:200])
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in state.values()
    }
    if sum(storages.values()) > _most(path, TENSORS):
        return Outcome(f"FAULT: tensors of {sum(storages.values())} bytes")
    return Outcome("read")


def _most(path: Path, limit: tuple[int, int]) -> int:
    return limit[0] * path.stat().st_size + limit[1]


def _time_up(*_: object) -> None:
    raise TimeUp
