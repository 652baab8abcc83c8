"""Read a file of torch.save, never running code from it.

The file is read by the machine of `unpickling`, which imports and calls nothing that a pickle
names; tensors stay in the file, mapped into memory. An object of a class that is known to be of no
harm (`pickled_names`) is passed over; a file that names anything else is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onefold.errors import WeightsError
from onefold.weights.binary import Binary, of_bytes, of_file
from onefold.weights.paths import check_ordinary
from onefold.weights.pickled_names import is_known
from onefold.weights.torch_archive import Archive, read_archive, root_of
from onefold.weights.torch_legacy import read_legacy
from onefold.weights.unpickling import Made, Named

ADVICE = "save its state_dict() again, as safetensors or with torch.save"
ZIP = b"PK"
PICKLE = b"\x80"  # first byte of a pickle of protocol 2 or later, torch's format before 1.6
SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".th")  # of torch files inside another archive
POLICY = "policy.pth"  # the network in an archive of stable-baselines3
SEARCHED = 100_000  # objects that are looked at for the place of a refused one


def read_torch(path: Path, entry: str | None = None) -> tuple[Any, str | None, str | None]:
    """The object in the torch file at `path`, of plain containers, numbers, texts and tensors.

    Objects of other kinds that are known to be of no harm are `Made`.

    Args:
        path: the file, or an archive with torch files in it, as stable-baselines3 writes.
        entry: the part that is asked for; it may begin with the name of a file in an archive.

    Returns:
        The object; the file in the archive that it was taken from, if there is one; and what is
        left of `entry`.

    Raises:
        WeightsError: the file is empty, cut short or no torch file, or describes objects that could
            only be made by running code.
    """
    try:
        check_ordinary(path)
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror or error}); check the path."
        ) from error
    if not start:
        raise WeightsError(f"{path} is empty; get the file again.")
    if not start.startswith((ZIP, PICKLE)):
        raise WeightsError(
            f"{path} is neither a safetensors nor a torch file; give a checkpoint written by one of"
            " the two."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if start.startswith(PICKLE):
                content, names = read_legacy(of_file(path))
                inner, left = None, entry
            else:
                content, names, inner, left = _zipped(path, of_file(path), entry)
    except WeightsError:
        raise
    # A file from anywhere may fail in any way. Every failure means that it cannot be trusted.
    except Exception as error:
        raise _damaged(path, error) from error
    foreign = sorted(name for name in names if not is_known(name))
    if foreign:
        raise _refusal(path, content, foreign)
    return content, inner, left


def read_whole(path: Path) -> Any:
    """All that is in the torch file at `path`, as torch itself reads it: a run that is continued.

    Raises:
        WeightsError: as `read_torch`, which looks at the file first.
    """
    import torch

    read_torch(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = str(error).strip().split("\n")[0][:150] or type(error).__name__
    return WeightsError(
        f"{path} is damaged, cut short or no torch file ({reason}); get the file again."
    )


def _zipped(
    path: Path, file: Binary, entry: str | None
) -> tuple[Any, set[str], str | None, str | None]:
    """What is in a zip: a torch file, or an archive with torch files in it."""
    archive = Archive(file)
    root = root_of(archive)
    if root is not None:
        if f"{root}constants.pkl" in archive.names:
            raise WeightsError(
                f"{path} is a TorchScript program, not a checkpoint; load it with torch.jit.load"
                f" and {ADVICE}."
            )
        return *read_archive(archive, root), None, entry
    inner, left = _chosen(path, archive, entry)
    unpacked = of_bytes(archive.read(inner), inner)
    if unpacked.text(0, 1) == PICKLE:
        return *read_legacy(unpacked), inner, left
    inside = Archive(unpacked)
    root = root_of(inside)
    if root is None:
        raise WeightsError(f"{path} holds '{inner}', which is no torch file; unpack it first.")
    return *read_archive(inside, root), inner, left


def _chosen(path: Path, archive: Archive, entry: str | None) -> tuple[str, str | None]:
    """The torch file in an archive to read, and what is left of `entry`."""
    files = [name for name in archive.names if name.endswith(SUFFIXES)]
    listed = ", ".join(f"'{name}'" for name in (files or archive.names)[:6]) or "nothing"
    if not files:
        raise WeightsError(
            f"{path} is a zip without a torch file in it; it holds {listed}; unpack it, and give"
            " the checkpoint."
        )
    for name in files:
        if entry is not None and (entry == name or entry.startswith(f"{name}.")):
            return name, entry[len(name) + 1 :] or None
    if POLICY in files or len(files) == 1:
        return (POLICY if POLICY in files else files[0]), entry
    raise WeightsError(
        f"{path} is an archive of several torch files; say which one by entry=, as"
        f" entry='{files[0]}'; it holds {listed}."
    )


def _refusal(path: Path, content: Any, foreign: list[str]) -> WeightsError:
    """The sentence on a file that describes objects which only code could make."""
    place, value = next(_objects(content), ((), None))
    name = _kind(value) or foreign[0]
    at = "".join(f"[{key!r}]" for key in place)
    whose = f" for its entry {at}" if at else ""
    if isinstance(value, Made) and isinstance(value.state, dict) and "_modules" in value.state:
        return WeightsError(
            f"{path} is a whole pickled network ({name}){whose}, and reading it would run code, so"
            " it was refused; if you trust it, convert it by two lines where its class can be"
            f" imported: net = torch.load({path.name!r}, weights_only=False){at};"
            " torch.save(net.state_dict(), 'state.pt')."
        )
    return WeightsError(
        f"{path} wants to run code ({name}){whose} while it is read and was refused; if you trust"
        " it, load it by torch.load(..., weights_only=False) and save its state dict alone, as"
        " safetensors or with torch.save."
    )


def _kind(value: Any) -> str:
    """The name of a refused object, or ""."""
    name = value.kind if isinstance(value, Made) else getattr(value, "name", "")
    return name if isinstance(name, str) and not is_known(name) else ""


def _objects(content: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The refused objects in the content, outermost first, and the keys that lead to each."""
    level: list[tuple[tuple[Any, ...], Any]] = [((), content)]
    looked = 0
    while level and looked < SEARCHED:
        below: list[tuple[tuple[Any, ...], Any]] = []
        for place, value in level:
            looked += 1
            if isinstance(value, Made | Named) and _kind(value):
                yield place, value
            below += [((*place, key), inner) for key, inner in _inside(value)]
            if looked + len(below) > SEARCHED:
                break
        level = below


def _inside(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return [(k, v) for k, v in value.items() if isinstance(k, str | int)]
    return list(enumerate(value)) if isinstance(value, list | tuple) else []
