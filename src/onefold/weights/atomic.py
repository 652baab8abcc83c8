"""Outputs that are written in full or not at all.

An output is first written beside its path under a hidden temporary name, then renamed. A process
that is killed half-way leaves at most a hidden `.NAME.PROCESS.tmp` beside an untouched old output,
which the next writer of that output removes. No such name is ever read as output.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from onefold.errors import OutputError
from onefold.weights.paths import real_output, special
from onefold.weights.placing import discard, finish_dead, hidden, note_placed, undisturbed

Content = bytes | str | Callable[[Path], None]


def check_output(
    path: str | os.PathLike[str], force: bool = False, *, folder: bool = False
) -> Path:
    """The real path (links followed) of an output that may be written. Call it before slow work.

    Args:
        path: the file, or with `folder` the folder, that shall be written.
        force: an existing output may be replaced.
        folder: the output is a folder.

    Raises:
        OutputError: the output exists and `force` is not set, it is of the other kind or neither
            file nor folder, its folder is missing or read-only, or as `real_output`.
    """
    try:
        target = real_output(path)
    except OSError as error:  # for example a name too long
        raise explain(error, path) from error
    kind = "folder" if folder else "file"
    try:
        if not target.parent.is_dir():
            raise OutputError(
                f"{path} cannot be written: the folder {target.parent} does not exist; create it"
                " first."
            )
        if target.exists():
            if other := special(target.stat().st_mode):
                raise OutputError(
                    f"{path} cannot be written: it is {other} and no {kind}; choose another name."
                )
            if target.is_dir() != folder:
                there = "file" if folder else "folder"
                raise OutputError(
                    f"{path} cannot be written: it is a {there}, but the output is a {kind}; choose"
                    " another name."
                )
            if not force and not (folder and not any(target.iterdir())):
                raise OutputError(
                    f"{path} exists already; choose another name, or give --force (force=True) to"
                    " replace it."
                )
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise OutputError(
                f"{path} cannot be written: the folder {target.parent} is read-only for this user;"
                " choose another place."
            )
    except OSError as error:  # for example a name too long, or a folder that may not be looked into
        raise explain(error, path) from error
    return target


def check_ending(path: str | os.PathLike[str], what: str, endings: Sequence[str]) -> None:
    """Check that an output's name says one of the forms that it can be written in.

    Args:
        path: the output.
        what: the beginning of the message, as "A report".
        endings: those that are known, with their dots.

    Raises:
        OutputError: the name ends otherwise.
    """
    name = Path(path).name
    if Path(path).suffix not in endings:
        known = " or ".join(endings)
        raise OutputError(f"{what} cannot be written as '{name}'; let the name end in {known}.")


def atomic_write(path: str | os.PathLike[str], content: Content, *, force: bool = False) -> Path:
    """Write one file in full or not at all, and onto the disk before it appears under its name.

    Args:
        path: the file; its folder must exist.
        content: bytes, text (UTF-8), or a function that writes the file at the path that it is
            given.
        force: replace an existing file, in one step.

    Returns:
        The real path written.

    Raises:
        OutputError: as `check_output`, or the disk is full or refuses. The old file is then
            untouched and nothing is left behind.
    """
    target = check_output(path, force)
    with staged(target) as temporary:
        fill(temporary, content, path)
        check_output(path, force)  # somebody else may have written meanwhile
        publish(temporary, target, path)
    return target


@contextlib.contextmanager
def atomic_directory(
    path: str | os.PathLike[str], *, force: bool = False, replaces: Collection[str] = ()
) -> Iterator[Path]:
    """Write a whole folder in full or not at all.

    Use it as `with atomic_directory("out") as folder: (folder / "a.json").write_text(...)`. The
    files are written into a hidden folder beside `path`, which is renamed to `path` when the block
    ends without an error. With `force` an existing folder is moved aside and replaced. Entries of
    it that the new one does not have are carried over, so that nobody else's files are lost.

    Args:
        path: the folder; its own folder must exist.
        force: replace an existing folder.
        replaces: patterns of the names of entries that are not carried over.

    Yields:
        The hidden folder.

    Raises:
        OutputError: as `check_output`, or the disk is full or refuses.
    """
    target = check_output(path, force, folder=True)
    with staged(target) as temporary:
        try:
            temporary.mkdir()
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    sync(Path(folder) / name)
                sync(Path(folder))
        except OSError as error:
            raise explain(error, path) from error
        check_output(path, force, folder=True)
        try:
            old = [entry.name for entry in target.iterdir()] if target.is_dir() else []
            leave = [name for name in old if any(fnmatchcase(name, one) for one in replaces)]
            exchange(temporary, target, leave)
        except OSError as error:
            raise explain(error, path) from error


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A free hidden name beside `target`.

    The file or folder of that name is removed when the block ends, also after an error. What a
    process that was killed left there is finished or removed first.
    """
    finish_dead(target)
    temporary = hidden(target)
    try:
        yield temporary
    finally:
        discard(temporary)


def fill(temporary: Path, content: Content, path: str | os.PathLike[str]) -> None:
    """Write a file and force it onto the disk.

    Args:
        temporary: the file to write, which must not exist.
        content: as in `atomic_write`.
        path: the output, for the messages.

    Raises:
        OutputError: the disk is full or refuses.
    """
    try:
        if callable(content):
            content(temporary)
        else:
            with open(temporary, "xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
        sync(temporary)
    except OSError as error:
        raise explain(error, path) from error


def publish(temporary: Path, target: Path, path: str | os.PathLike[str]) -> None:
    """Rename a finished file, in one step.

    Args:
        temporary: the file.
        target: its new name, in the same folder.
        path: the output, for the messages.

    Raises:
        OutputError: the operating system refuses.
    """
    try:
        with undisturbed():
            os.replace(temporary, target)
            note_placed(target)
        sync(target.parent)
    except OSError as error:
        raise explain(error, path) from error


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, onto the disk.

    File systems that cannot do this for folders are left alone.
    """
    folder = path.is_dir()
    if folder and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if folder or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not folder or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def explain(error: OSError, path: str | os.PathLike[str]) -> OutputError:
    """The error of the operating system as an OutputError.

    Args:
        error: the error.
        path: the output, for the message.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"{path} cannot be written: the disk is full; free some space or choose another place."
        )
    if error.errno == errno.EFBIG:
        return OutputError(
            f"{path} cannot be written: the file would be larger than allowed here; raise the limit"
            " or write in shards."
        )
    return OutputError(
        f"{path} cannot be written: {error.strerror or error}; choose another place."
    )


def exchange(new: Path, target: Path, leave: Collection[str] = ()) -> None:
    """Rename the folder `new` to `target`, with the entries of the old one that it lacks.

    Where the system can exchange two names in one step, there is a whole folder at every moment.
    Elsewhere there is none for a moment. The old folder is `new` afterwards.

    Args:
        new: the finished folder.
        target: its name to be, in the same folder.
        leave: names of entries of the old folder that are not taken over.

    Raises:
        OSError: the operating system refuses.
    """
    if not target.exists():
        with undisturbed():
            os.rename(new, target)
            note_placed(target)
        sync(target.parent)
        return
    for entry in target.iterdir():
        there = (new / entry.name).exists() or (new / entry.name).is_symlink()
        if not there and entry.name not in leave:
            _carry_over(entry, new / entry.name)
    sync(new)
    with undisturbed():
        if not _exchanged(new, target):
            old = hidden(target)
            os.rename(target, old)
            try:
                os.rename(new, target)
            except OSError:
                os.rename(old, target)
                raise
            os.rename(old, new)
        note_placed(target)
    sync(target.parent)


def _carry_over(entry: Path, place: Path) -> None:
    """The same entry in another folder too: links to files, so that nothing is copied."""
    if entry.is_symlink():
        os.symlink(os.readlink(entry), place)
    elif entry.is_dir():
        place.mkdir()
        shutil.copystat(entry, place)
        for inner in entry.iterdir():
            _carry_over(inner, place / inner.name)
    else:
        try:
            os.link(entry, place)
        except OSError:
            shutil.copy2(entry, place)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two names in one step; False if this system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here = -100  # AT_FDCWD: paths count from the working folder
    done: int = rename(here, os.fsencode(first), here, os.fsencode(second), ctypes.c_uint(2))
    return done == 0
