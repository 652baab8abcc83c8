"""Read a checkpoint in any common form, and say in notes how its state dict was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, overload

from torch import Tensor, nn

from onefold.arguments import checked
from onefold.errors import WeightsError
from onefold.patterns import Patterns
from onefold.weights.checks import check_fit, check_state, load_into, needed_names, tensors_of
from onefold.weights.files import PathLike, files_of, format_of
from onefold.weights.lazy import LazyState
from onefold.weights.naming import AVERAGED, change_of, names_for
from onefold.weights.pretrained import state_by_class
from onefold.weights.resized import advice
from onefold.weights.safetensors_state import check_listed, read_safetensors
from onefold.weights.selection import Selection
from onefold.weights.torch_state import read_torch_state

# DataParallel and AveragedModel write the first prefix, torch.compile the second.
PREFIXES = ("module.", "_orig_mod.")
EVERYTHING = Selection()
M = TypeVar("M", bound=nn.Module)


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
        entry: the entry of the file that was taken as the state dict; None if the file itself is
            one.
        prefix: the beginning that was removed from every name, such as "module.", or "".
        metadata: the file's own free-text entries.
        notes: the steps to the state dict, one sentence each; empty for a plain state dict.
        selection: the part of the files that was asked for.
        converted: the class of a network has changed the tensors that its folder holds, and they
            are in memory.
    """

    tensors: Mapping[str, Tensor]
    format: str
    paths: tuple[Path, ...]
    entry: str | None = None
    prefix: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    selection: Selection = EVERYTHING
    converted: bool = False


def read(
    path: PathLike | Sequence[PathLike],
    *,
    check_finite: bool = True,
    selection: Selection = EVERYTHING,
) -> Checkpoint:
    """Read the checkpoint at `path`, never running code from it.

    Args:
        path: a safetensors or torch file, an index file (*.index.json) of shards, a folder of one
            network (as `save_pretrained` of transformers writes it), or the sequence of all shards.
        check_finite: refuse NaN and infinity, which reads all values once.
        selection: the part of it to read.

    Raises:
        WeightsError: the file is missing, damaged, unsafe, quantised, not finite, or holds no state
            dict, or not the part that is asked for.
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
        if selection.entry is not None:
            raise WeightsError(
                f"{paths[0]} is a safetensors file, which has no entry '{selection.entry}'; leave"
                " entry out, or name the beginning of the names by prefix=."
            )
        tensors, metadata = read_safetensors(paths, notes)
    else:
        tensors, metadata, entry = read_torch_state(paths, selection.entry, notes)
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} (and {len(paths) - 1} more files)"
    if listed is not None:
        check_listed(tensors, listed, where, notes)
    if not tensors:
        raise WeightsError(f"{where} holds no tensors; give a checkpoint with a state dict.")
    if not selection.plain:
        tensors = _renamed(tensors, selection.names(tensors, where, notes))
    tensors, prefix = _without_prefix(tensors, notes)
    _check(tensors, paths, where, check_finite)
    prefix = (selection.prefix or "") + prefix
    return Checkpoint(tensors, form, tuple(paths), entry, prefix, metadata, notes, selection)


def fitted(checkpoint: Checkpoint, module: nn.Module, where: str | None = None) -> Checkpoint:
    """The checkpoint with its tensors under the names that the network has for them.

    Where those of a folder of `save_pretrained` do not fit, the class of the network is asked, as
    it may store a network otherwise than it is in memory.

    Args:
        checkpoint: what was read.
        module: the network that is to be filled.
        where: the source of the tensors, for the messages; None: the first file.

    Raises:
        WeightsError: the tensors do not fit the network, by name, shape or kind of dtype, or fit it
            in several ways.
    """
    try:
        return _by_names(checkpoint, module, where or str(checkpoint.paths[0]))
    except WeightsError as error:
        if told := advice(checkpoint.metadata):
            place = where or str(checkpoint.paths[0])
            kind = type(module).__name__
            raise WeightsError(f"{place} does not fit {kind}, as {told}") from error
        folder = checkpoint.paths[0].parent
        state = state_by_class(folder, module, checkpoint.selection)
        if not state:
            raise
        return replace(checkpoint, tensors=state, prefix="", converted=True)


def _by_names(checkpoint: Checkpoint, module: nn.Module, where: str) -> Checkpoint:
    """The checkpoint as its names fit those of the network; errors as `fitted`."""
    needed, known = needed_names(module), tensors_of(module)
    names = names_for(checkpoint.tensors, needed, known, where, type(module).__name__)
    prefix, told = change_of(names)
    tensors = _renamed(checkpoint.tensors, names)
    check_fit(module, tensors, where)
    notes = [told] if told else []
    wanted = {name for group in needed for name in group}
    kept = [name for name in known if name not in tensors and name not in wanted]
    if kept:
        notes.append(
            f"{len(kept)} counters of batch norms are not in the file and stay as the network has"
            f" them, such as '{kept[0]}'."
        )
    return replace(
        checkpoint,
        tensors=tensors,
        prefix=checkpoint.prefix + prefix,
        notes=[*checkpoint.notes, *notes],
    )


@overload
def load(
    path: PathLike | Sequence[PathLike],
    model: None = None,
    *,
    check_finite: bool = True,
    entry: str | None = None,
    prefix: str | None = None,
    keys: Patterns = None,
    drop: Patterns = None,
) -> dict[str, Tensor]: ...
@overload
def load(
    path: PathLike | Sequence[PathLike],
    model: M,
    *,
    check_finite: bool = True,
    entry: str | None = None,
    prefix: str | None = None,
    keys: Patterns = None,
    drop: Patterns = None,
) -> M: ...
@checked
def load(
    path: PathLike | Sequence[PathLike],
    model: nn.Module | None = None,
    *,
    check_finite: bool = True,
    entry: str | None = None,
    prefix: str | None = None,
    keys: Patterns = None,
    drop: Patterns = None,
) -> dict[str, Tensor] | nn.Module:
    """The state dict of the checkpoint at `path`, or a network that is filled from it.

    `onefold.weights.read` also says what was done, and reads lazily.

    Args:
        path: a safetensors or torch file, an index file (*.index.json) of shards, a folder of one
            network (as `save_pretrained` of transformers writes it), or the sequence of all shards.
            No code in it is run.
        model: the network to fill. It is changed in place, as by its `load_state_dict`, and
            returned. Its names say which prefixes of the file are taken off.
        check_finite: refuse NaN and infinity, which reads all values once.
        entry: the entry of a torch file that is the state dict, as "model_ema" or "ema.module", or
            the file in an archive, as "policy.pth". None takes the one of the usual names.
        prefix: take only the names that begin so, without it, as "backbone.".
        keys: patterns of the names to take, behind the prefix; None takes all.
        drop: patterns of the names to leave out.

    Returns:
        The tensors by name, on the CPU. Tied names of a torch file have one tensor, as they had
        when it was saved. With `model`, that network.

    Raises:
        WeightsError: the file is missing, damaged, unsafe, quantised, not finite, or holds no state
            dict, not the part that is asked for, or not the weights of `model`, which then stays
            as it is.
    """
    selection = Selection(entry, prefix, keys, drop)
    checkpoint = read(path, check_finite=check_finite, selection=selection)
    if model is not None:
        checkpoint = fitted(checkpoint, model)
        load_into(model, checkpoint.tensors, str(checkpoint.paths[0]))
        return model
    return _in_memory(checkpoint.tensors)


def _in_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that do not depend on the file."""
    if isinstance(tensors, LazyState):
        return {name: tensor.clone() for name, tensor in tensors.items()}
    copies: dict[tuple[object, ...], Tensor] = {}
    state = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr() or name, tensor.dtype, tensor.shape, tensor.stride())
        if place not in copies:
            copies[place] = tensor.clone()
        state[name] = copies[place]
    return state


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
        (p for p in PREFIXES if all(name.startswith(p) or name == AVERAGED for name in names)), None
    ):
        if set(names) == {AVERAGED}:
            break
        names = {name.removeprefix(part): old for name, old in names.items() if name != AVERAGED}
        prefix += part
    if not prefix:
        return tensors, ""
    notes.append(f"Took the prefix '{prefix}' off every name.")
    return _renamed(tensors, names), prefix


def _renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Mapping[str, Tensor]:
    """The tensors under other names: `names` maps each new name to an old one."""
    if isinstance(tensors, LazyState):
        return tensors.renamed(names)
    return {name: tensors[old] for name, old in names.items()}
