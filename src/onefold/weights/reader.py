"""Read a checkpoint in any common form, and say in notes how its state dict was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from onefold.arguments import checked
from onefold.errors import WeightsError
from onefold.weights.checks import check_state
from onefold.weights.files import PathLike, files_of, format_of
from onefold.weights.lazy import LazyState
from onefold.weights.safetensors_state import check_listed, read_safetensors
from onefold.weights.torch_state import read_torch_state

# DataParallel and AveragedModel write the first prefix, torch.compile the second.
PREFIXES = ("module.", "_orig_mod.")
COUNTER = "n_averaged"  # AveragedModel's count, which is no weight


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Do not overwrite the files in place while this is in use (`onefold.save` does not). `load`
    copies.

    Attributes:
        tensors: name -> tensor, on the CPU. Those of safetensors files stay on disk (`LazyState`),
            those of torch files are memory-mapped.
        format: "safetensors" or "torch".
        paths: the files read.
        subdictionary: the entry of the file that was taken as the state dict; None if the file
            itself is one.
        prefix: the beginning that was removed from every name, such as "module.", or "".
        metadata: the file's own free-text entries.
        notes: the steps to the state dict, one sentence each; empty for a plain state dict.
    """

    tensors: Mapping[str, Tensor]
    format: str
    paths: tuple[Path, ...]
    subdictionary: str | None = None
    prefix: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read(
    path: PathLike | Sequence[PathLike],
    *,
    check_finite: bool = True,
    subdictionary: str | None = None,
) -> Checkpoint:
    """Read the checkpoint at `path`, never running code from it.

    Args:
        path: a safetensors or torch file, an index file (*.index.json) of shards, or the sequence
            of all shards.
        check_finite: refuse NaN and infinity, which reads all values once.
        subdictionary: the entry to take if a torch checkpoint holds several state dicts; by default
            the first of the usual names.

    Raises:
        WeightsError: the file is missing, damaged, unsafe, quantised, not finite, or holds no state
            dict.
    """
    paths, listed, notes = files_of(path)
    formats = {format_of(file) for file in paths}
    if len(formats) > 1:
        raise WeightsError(
            f"{paths[0]} and the files given with it are of different formats; give shards of one"
            " checkpoint."
        )
    form = formats.pop()
    tensors: Mapping[str, Tensor]
    entry: str | None = None
    if form == "safetensors":
        if subdictionary is not None:
            raise WeightsError(
                f"{paths[0]} is a safetensors file, which has no sub-dictionary '{subdictionary}';"
                " leave that option out."
            )
        tensors, metadata = read_safetensors(paths, notes)
    else:
        tensors, metadata, entry = read_torch_state(paths, subdictionary, notes)
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} (and {len(paths) - 1} more files)"
    if listed is not None:
        check_listed(tensors, listed, where, notes)
    if not tensors:
        raise WeightsError(f"{where} holds no tensors; give a checkpoint with a state dict.")
    tensors, prefix = _without_prefix(tensors, notes)
    _check(tensors, paths, where, check_finite)
    return Checkpoint(tensors, form, tuple(paths), entry, prefix, metadata, notes)


@checked
def load(
    path: PathLike | Sequence[PathLike],
    *,
    check_finite: bool = True,
    subdictionary: str | None = None,
) -> dict[str, Tensor]:
    """The state dict of the checkpoint at `path`, as tensors in memory.

    `read` also says what was done, and reads lazily.

    Args:
        path: as in `read`.
        check_finite: as in `read`.
        subdictionary: as in `read`.

    Raises:
        WeightsError: as `read`.
    """
    checkpoint = read(path, check_finite=check_finite, subdictionary=subdictionary)
    return {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}


def _check(
    tensors: Mapping[str, Tensor], paths: Sequence[Path], where: str, check_finite: bool
) -> None:
    if not isinstance(tensors, LazyState):
        check_state(tensors, where, check_finite=check_finite)
        return
    for file in paths:  # each message names the file that holds the tensor
        names = {name: name for name in tensors if tensors.file(name) == file}
        if names:
            check_state(tensors.renamed(names), str(file), check_finite=check_finite)


def _without_prefix(
    tensors: Mapping[str, Tensor], notes: list[str]
) -> tuple[Mapping[str, Tensor], str]:
    """The tensors without wrappers' prefixes, if every name has them, and the prefix.

    AveragedModel's counter is left out.
    """
    names = {name: name for name in tensors}
    prefix = ""
    while part := next(
        (p for p in PREFIXES if all(name.startswith(p) or name == COUNTER for name in names)), None
    ):
        if set(names) == {COUNTER}:
            break
        names = {name.removeprefix(part): old for name, old in names.items() if name != COUNTER}
        prefix += part
    if not prefix:
        return tensors, ""
    notes.append(f"Took the prefix '{prefix}' off every name.")
    if isinstance(tensors, LazyState):
        return tensors.renamed(names), prefix
    return {name: tensors[old] for name, old in names.items()}, prefix
