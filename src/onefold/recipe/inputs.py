"""The members, data and device of a recipe, read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from onefold.batches import Data, batches, check_reiterable
from onefold.documents.part import InputFile
from onefold.errors import DataError, MembersError, Note, RecipeError, WeightsError
from onefold.fold.partial.saved import KEY as PARTIAL
from onefold.fold.partial.saved import rebuild as rebuild_partial
from onefold.fold.soft.saved import KEY as MIXTURE
from onefold.fold.soft.saved import rebuild
from onefold.processes import check_device
from onefold.recipe.document import DataPart, ReadingPart
from onefold.sources import DiskMembers, build_data, build_model
from onefold.weights import (
    check_all_tensors,
    check_members,
    check_state,
    checksum,
    fitted,
    load_into,
    read,
    repeated,
)

EVERYTHING = ReadingPart()
ON_DISK = 4 * 2**30  # bytes of files: members that have more together stay on disk


def load_networks(
    model: str,
    members: Sequence[InputFile],
    device: str = "cpu",
    *,
    mixtures: bool = False,
    check_finite: bool = True,
    reading: ReadingPart = EVERYTHING,
) -> tuple[list[nn.Module], list[str], list[str]]:
    """Read every member into a network of the architecture `model`, in eval mode on `device`.

    mixtures: accept what soft and partial merging wrote where several networks were left, too.
    check_finite: refuse NaN and infinity.
    reading: the part of every file to read.

    Returns:
        The networks; the SHA-256 of every member's file; notes on what was done to get at the
        weights, one sentence each.

    Raises:
        RecipeError: a file's checksum is not the recorded one, the model's name or the device is
            unknown.
        WeightsError: a file is missing, damaged, hostile, not finite, quantised, or does not fit
            the architecture.
        MembersError: the members do not fit one another.
    """
    target = check_device(device)
    sums = [verify(member) for member in members]
    checkpoints = [
        read(member.path, check_finite=check_finite, selection=reading.selection)
        for member in members
    ]
    names = [member.path for member in members]
    several = [bool({MIXTURE, PARTIAL} & set(checkpoint.metadata)) for checkpoint in checkpoints]
    if not mixtures:
        for name, checkpoint in zip(names, checkpoints, strict=True):
            _refuse_several(name, checkpoint.metadata)
    networks: list[nn.Module] = []
    notes: list[str] = []
    for k, name in enumerate(names):
        network = _network(model, checkpoints[k].metadata, name)
        check_all_tensors(network.state_dict(), f"The network {type(network).__name__}")
        try:
            found = fitted(checkpoints[k], network, name)
        except WeightsError:
            if k > 0 and not any(several):  # is it the first of another architecture?
                pair = [checkpoints[i].tensors for i in (0, k)]
                check_members(pair, [names[0], name])
            raise
        check_state(found.tensors, name, network, check_finite=False)
        load_into(network, found.tensors, name)
        networks.append(network.to(target).eval())
        notes += [Note(f"{name}: {text}") for text in found.notes]
    return networks, sums, notes + repeated(networks)


def _network(model: str, metadata: Mapping[str, str], name: str) -> nn.Module:
    """The network of a file: of the architecture, or of what several of them were made into."""
    network = build_model(model)
    if PARTIAL in metadata:
        network.eval()
        return rebuild_partial(lambda _: network, metadata, name)
    if MIXTURE in metadata:
        return rebuild(lambda: build_model(model), metadata, name)
    return network


def load_members(
    model: str,
    members: Sequence[InputFile],
    device: str = "cpu",
    *,
    on_disk: bool | None = None,
    reading: ReadingPart = EVERYTHING,
) -> tuple[Sequence[nn.Module], list[str], list[str]]:
    """As `load_networks`, for a fold. on_disk: members stay on disk; None: if they are large."""
    if on_disk is None:
        files = [Path(member.path) for member in members]
        on_disk = sum(file.stat().st_size for file in files if file.is_file()) > ON_DISK
    if not on_disk:
        return load_networks(model, members, device, reading=reading)
    target, sums = check_device(device), [verify(member) for member in members]
    paths, part = [member.path for member in members], dataclasses.asdict(reading.selection)
    found = DiskMembers(model, paths, device=target, **part)
    for member, metadata in zip(members, found.metadata, strict=True):
        _refuse_several(member.path, metadata)
    told = (text if text in found.repeated else Note(text) for text in found.notes)
    return found, sums, list(told)


def _refuse_several(path: str, metadata: Mapping[str, str]) -> None:
    if MIXTURE in metadata or PARTIAL in metadata:
        kind = "mixture" if MIXTURE in metadata else "partial merge"
        raise MembersError(
            f"{path} is a {kind} of several networks, which cannot be folded; give its members"
            " instead."
        )


def verify(file: InputFile) -> str:
    """The SHA-256 of a file.

    Raises:
        RecipeError: the recipe records another one. WeightsError: the file cannot be read.
    """
    found = checksum(file.path)
    if file.sha256 is not None and found != file.sha256:
        raise RecipeError(
            f"{file.path} is not the file that the recipe was made with: its SHA-256 begins"
            f" {found[:12]}, the recipe says {file.sha256[:12]}; get the original file, or delete"
            " the key 'sha256' to use this one."
        )
    return found


def load_data(part: DataPart, seed: int = 0) -> Data:
    """The batches that a part of a recipe names.

    Raises SettingError or DataError if they cannot be had.
    """
    return build_data(
        part.source,
        split=part.split,
        batch_size=part.batch_size,
        limit=part.samples,
        seed=seed,
        skip=part.skip,
    )


def check_labelled(
    data: Data,
    part: DataPart,
    use: str = "score with; choose other data, or leave the evaluation out",
) -> None:
    """Raises DataError unless the first batch of `data` has labels.

    Args:
        data: the batches.
        part: their source, for the message.
        use: what the labels are for, and what to do without.
    """
    if next(batches(data, what=f"data '{part.source}'")).labels is None:
        raise DataError(f"The {part.split} split of '{part.source}' has no labels to {use}.")


def labelled(part: DataPart | None, seed: int, what: str) -> Data | None:
    """The labelled data of a part, if there is one. Raises DataError if it has no labels."""
    if part is None:
        return None
    data = check_reiterable(load_data(part, seed), what)
    check_labelled(data, part)
    return data
