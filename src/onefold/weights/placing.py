"""Finished files come into their places together, whatever ends the process.

    1. every file is finished and on the disk, under a hidden name in one hidden folder
    2. a list of names and places comes into that folder: from here on the files count as written
    3. each file is renamed to its place, while signals wait
    4. the folder is removed

A process that is killed before 2 leaves the hidden folder and no output. One that is killed between
2 and 4 leaves the list, and the next writer of the same output does first what is still on it
(`finish_dead`). Hidden names hold the number of their process, so that the next writer also removes
what a dead one left, and nothing of one that lives.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

LIST = "places.json"
_HERE = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_placed: list[Path] = []


def placed() -> list[Path]:
    """The files and folders that this process put into place since `forget_placed`, in order.

    What is gone again, such as a checkpoint of a run that is over, is left out.
    """
    return [path for path in dict.fromkeys(_placed) if path.exists()]


def forget_placed() -> None:
    """Begin a command: nothing is in place."""
    _placed.clear()


def note_placed(path: Path) -> None:
    """Enter that an output is in place."""
    _placed.append(path)


def hidden(target: Path) -> Path:
    """A hidden, unused name beside `target`, which tells the process; a long name is cut."""
    owner = f"{_HERE}-{os.getpid()}-{secrets.token_hex(4)}"
    return target.with_name(f".{target.name[:180]}.{owner}.tmp")


def dead(target: Path) -> list[Path]:
    """What processes of this machine that have ended left beside `target` under hidden names."""
    return _dead_in(target.parent, re.escape(target.name[:180]))


def clear_dead(folder: Path) -> None:
    """Remove what processes that were killed left in a folder, if it holds nothing else."""
    left = _dead_in(folder, ".+")
    with contextlib.suppress(OSError):
        if set(folder.iterdir()) == set(left):
            for path in left:
                discard(path)


def _dead_in(folder: Path, name: str) -> list[Path]:
    """What ended processes left in a folder for outputs whose name this expression matches."""
    pattern = re.compile(rf"\.{name}\.{_HERE}-(\d+)-[0-9a-f]+\.tmp", re.DOTALL)
    found = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            match = pattern.fullmatch(path.name)
            if match is not None and not _lives(int(match[1])):
                found.append(path)
    return sorted(found)


def finish_dead(target: Path) -> None:
    """Put into place what a process that was killed had finished; remove what it had not."""
    for path in dead(target):
        with contextlib.suppress(OSError, ValueError, KeyError):
            if (path / LIST).is_file():
                _carry_out(path)
        discard(path)


def discard(path: Path) -> None:
    """Remove a hidden file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def place_together(folder: Path, ready: Mapping[Path, Path], remove: Iterable[Path] = ()) -> None:
    """Rename finished files to their places, all of them, also if the process is killed on the way.

    Args:
        folder: a hidden folder that `hidden` named.
        ready: place -> finished file in `folder`; existing files are replaced.
        remove: files that go when the others have come.

    Raises:
        OSError: the operating system refuses.
    """
    base = folder.parent
    near = {path: _beside(file, path) for path, file in ready.items()}
    places = {
        "rename": [[os.path.relpath(f, base), os.path.relpath(p, base)] for p, f in near.items()],
        "remove": [os.path.relpath(path, base) for path in remove],
    }
    draft = folder / f"{LIST}.draft"
    with open(draft, "x", encoding="utf-8") as file:
        json.dump(places, file)
        file.flush()
        os.fsync(file.fileno())
    with undisturbed():
        os.replace(draft, folder / LIST)
        _sync(folder)
        _carry_out(folder)
        for path in ready:
            note_placed(path)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let interrupts and requests to end wait until the block is over.

    Their handlers are exchanged: a mask would hold for this thread alone, and the system gives a
    signal to any other thread. Handlers run in the main thread, so that others need nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) is not None
    }
    for number in before:
        signal.signal(number, lambda found, _: came.append(found))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for found in came:
            signal.raise_signal(found)


def _beside(file: Path, place: Path) -> Path:
    """The file, or a copy beside its place if that is on another file system."""
    if file.stat().st_dev == place.parent.stat().st_dev:
        return file
    for left in dead(place):
        discard(left)
    copy = hidden(place)
    try:
        shutil.copyfile(file, copy)
        with open(copy, "rb") as written:
            os.fsync(written.fileno())
    except BaseException:
        discard(copy)
        raise
    return copy


def _carry_out(folder: Path) -> None:
    places = json.loads((folder / LIST).read_text(encoding="utf-8"))
    base = folder.parent
    for file, place in places["rename"]:
        if (base / file).exists():  # else it is in place already
            os.replace(base / file, base / place)
    for place in places["remove"]:
        (base / place).unlink(missing_ok=True)
    for parent in {(base / place).parent for _, place in places["rename"]}:
        _sync(parent)


def _sync(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot do this for folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lives(process: int) -> bool:
    """Whether a process of this machine is running, as far as can be told."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
