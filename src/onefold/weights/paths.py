"""Where inputs and outputs lead: through links, to files of other kinds, to one another.

    input     links are followed; a FIFO, a socket or a device is refused before it is opened
    output    links are followed: the file or folder at their end is written, and the link stays
    both      an output that is an input is refused, also if it may replace what is there

Files that come beside an output, or into a folder, replace a link that has their name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from onefold.errors import OutputError
from onefold.printable import printable

PathLike = str | os.PathLike[str]
KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
RESULTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".yaml", ".html")
GONE = "the working folder is gone; go to one that exists (cd), and run again."


def check_ordinary(path: PathLike) -> None:
    """Refuse an input that may never end, before it is opened.

    Raises:
        OSError: it cannot be looked at, or it is a FIFO, a socket or a device.
    """
    if kind := special(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, f"it is {kind} and no file")


def special(mode: int) -> str:
    """What is neither a file nor a folder, as "a FIFO"; "" of files and folders."""
    return KINDS.get(stat.S_IFMT(mode), "")


def real_output(path: PathLike) -> Path:
    """The path that an output leads to, links followed; the file need not exist.

    Raises:
        OutputError: the links go round in a circle, the name is no text in UTF-8, which no file of
            weights can have, or the working folder is gone.
    """
    named = printable(os.fspath(path))
    try:
        target = Path(os.path.realpath(Path(path).expanduser()))
    except FileNotFoundError:
        raise OutputError(f"{named} cannot be written: {GONE}") from None
    except (OSError, RuntimeError, ValueError) as error:  # an unknown ~user, a null byte
        raise OutputError(f"{named} cannot be written: {error}; choose another name.") from error
    if any("\ud800" <= c <= "\udfff" for c in str(target)):
        raise OutputError(
            f"{named} cannot be written: its path is no text in UTF-8; choose another name."
        )
    if target.is_symlink():
        raise OutputError(
            f"{named} cannot be written: its links lead back to themselves; remove them, or choose"
            " another name."
        )
    return target


def check_apart(
    outputs: Iterable[PathLike], inputs: Iterable[PathLike], kept: PathLike | None = None
) -> None:
    """Refuse an output that is an input, under whatever name: links, hard links, other letters.

    Args:
        outputs: the files that shall be written.
        inputs: the files that are read; of a folder of data, every file in it but those of names
            that only results have.
        kept: a folder that another output is kept in, where nothing else may be written.

    Raises:
        OutputError: an output is an input, or lies in the folder that is kept.
    """
    known: dict[tuple[int, int], PathLike] = {}
    folders: list[Path] = []
    for path in inputs:
        found = _found(path)
        if found is not None:
            known.setdefault((found.st_dev, found.st_ino), path)
            if stat.S_ISDIR(found.st_mode):
                folders.append(Path(os.path.realpath(path)))
    for output in outputs:
        target, found = real_output(output), _found(output)
        if found is None and kept is None:
            continue
        if kept is not None and target.is_relative_to(os.path.realpath(kept)):
            raise OutputError(
                f"{output} lies in {kept}, which keeps what a run resumes from; choose another"
                " output."
            )
        if found is None:
            continue
        same = known.get((found.st_dev, found.st_ino))
        if same is None and target.is_file() and target.suffix not in RESULTS:
            same = next((one for one in folders if target.is_relative_to(one)), None)
        if same is not None:
            through = "" if os.fspath(same) == os.fspath(output) else f" ({same})"
            raise OutputError(
                f"{output} is one of the inputs{through}, which are never replaced; choose another"
                " output."
            )


def _found(path: PathLike) -> os.stat_result | None:
    """What is at a path, links followed; None if nothing is."""
    try:
        return os.stat(Path(path).expanduser())
    except (OSError, RuntimeError, ValueError):
        return None
