"""The hidden folder that a merge is written into, and the journal of its finished files.

The folder stands beside the output under a name of its own. A run that is killed leaves it; the
next run of the same merge goes on behind the last finished file. A run of another merge into the
same output begins anew. Two runs at a time are refused: the first holds a lock, which the system
takes from it when it ends, however it ends.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType

from onefold.errors import OutputError
from onefold.weights.atomic import atomic_write, explain, sync
from onefold.weights.placing import discard

PLAN, DONE, LOCK = "merge.plan", "merge.done", "merge.lock"


def staging_folder(target: Path) -> Path:
    """The hidden folder beside an output."""
    return target.with_name(f".{target.name[:180]}.merging")


class Journal:
    """What is done of a merge. Use it in a `with` block, which holds the lock.

    Args:
        target: the output.
        fingerprint: of the plan and its inputs.
        durable: force what is journaled onto the disk.

    Attributes:
        folder: where files are written.
        done: the finished files with their checksums.
    """

    def __init__(self, target: Path, fingerprint: str, durable: bool = True) -> None:
        self.target, self.fingerprint, self.durable = target, fingerprint, durable
        self.folder = staging_folder(target)
        self.done: dict[str, str] = {}
        self._lock: int | None = None

    def __enter__(self) -> Journal:
        try:
            self.folder.mkdir(exist_ok=True)
            self._hold()
            self._begin()
        except OSError as error:
            raise explain(error, self.target) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lasting = kind is not None and issubclass(kind, OSError | OutputError | KeyboardInterrupt)
        if kind is not None and not (self.done and lasting):
            discard(self.folder)  # there is nothing to go on from
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def finished(self, file: str, checksum: str) -> None:
        """Enter that a file is complete, after it is on the disk.

        Args:
            file: its name.
            checksum: of what was written into it.
        """
        if self.durable:
            sync(self.folder / file)
        with open(self.folder / DONE, "a", encoding="utf-8") as stream:
            stream.write(_line(file, checksum))
            stream.flush()
            if self.durable:
                os.fsync(stream.fileno())
        self.done[file] = checksum

    def forget(self, file: str) -> None:
        """Strike out a file that turned out to be damaged, so that it is written again."""
        self.done.pop(file, None)
        (self.folder / file).unlink(missing_ok=True)
        lines = "".join(_line(*one) for one in sorted(self.done.items()))
        atomic_write(self.folder / DONE, lines, force=True)

    def remove(self) -> None:
        """Remove the journal; what is left is the output."""
        for name in (PLAN, DONE, LOCK):
            (self.folder / name).unlink(missing_ok=True)

    def _hold(self) -> None:
        self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            import fcntl
        except ImportError:  # such a system refuses to remove what another process has open
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            raise OutputError(
                f"{self.target} is being written by another merge; wait for it, or choose another"
                " name."
            ) from None

    def _begin(self) -> None:
        plan = self.folder / PLAN
        known = plan.read_text(encoding="utf-8") if plan.exists() else None
        if known == self.fingerprint:
            self.done = _done(self.folder / DONE)
            return
        for entry in self.folder.iterdir():
            if entry.name != LOCK:
                discard(entry)
        plan.write_text(self.fingerprint, encoding="utf-8")


def finished_files(target: Path, fingerprint: str) -> set[str]:
    """The files that a run which was stopped has finished, looked at without a lock.

    Args:
        target: the output.
        fingerprint: of the plan and its inputs; files of another plan are none.
    """
    folder = staging_folder(target)
    try:
        known = (folder / PLAN).read_text(encoding="utf-8")
        return set(_done(folder / DONE)) if known == fingerprint else set()
    except OSError:
        return set()


def _line(file: str, checksum: str) -> str:
    return json.dumps([file, checksum]) + "\n"


def _done(path: Path) -> dict[str, str]:
    """The files and checksums of a journal; a last line that was cut is left out."""
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not isinstance(entry, list) or len(entry) != 2:
            break
        found[str(entry[0])] = str(entry[1])
    return found
