"""Networks read from checkpoints: of an architecture, or of what a fold left of several.

A soft merge may write a mixture, and a partial merge writes a trunk with every member's own layers.
Pruning and folds to a budget write networks of other widths. The metadata of their files say so
(`soft/saved.py`, `partial/saved.py`, `weights/resized.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from torch import nn

from onefold.errors import MembersError, Note, WeightsError
from onefold.fold.partial.saved import KEY as PARTIAL
from onefold.fold.partial.saved import rebuild as rebuild_partial
from onefold.fold.soft.saved import KEY as MIXTURE
from onefold.fold.soft.saved import rebuild as rebuild_mixture
from onefold.processes import check_device
from onefold.sources import DiskMembers, build_model
from onefold.sources.pretrained_folders import differences
from onefold.weights import (
    Checkpoint,
    Selection,
    check_all_tensors,
    check_members,
    check_state,
    fitted,
    load_into,
    read,
    repeated,
)
from onefold.weights.files import with_shards
from onefold.weights.resized import KEY as RESIZED
from onefold.widths.saved import rebuilt

EVERYTHING = Selection()
ON_DISK = 4 * 2**30  # bytes of files: members that have more together stay on disk


def load_networks(
    model: str,
    paths: Sequence[str],
    device: str = "cpu",
    *,
    several: bool = False,
    check_finite: bool = True,
    selection: Selection = EVERYTHING,
) -> tuple[list[nn.Module], list[str]]:
    """Read every checkpoint into a network of an architecture, in eval mode on `device`.

    Args:
        model: the name of the architecture, as `onefold.sources.build_model` takes it.
        paths: the checkpoints.
        device: cpu, cuda or cuda:N.
        several: accept what soft and partial merging wrote where several networks were left, too.
        check_finite: refuse NaN and infinity.
        selection: the part of every file to read.

    Returns:
        The networks, and notes on what was done to get at the weights, one sentence each.

    Raises:
        RecipeError: the device is unknown or not there.
        SettingError: the name of the architecture is unknown.
        WeightsError: a file is missing, damaged, hostile, not finite, quantised, or does not fit
            the architecture.
        MembersError: the networks are of different architectures, or one file holds several and
            `several` is False.
    """
    target = check_device(device)
    checkpoints = [read(path, check_finite=check_finite, selection=selection) for path in paths]
    if not several:
        for path, checkpoint in zip(paths, checkpoints, strict=True):
            _refuse_several(path, checkpoint.metadata)
    plain = not any(_holds_several(checkpoint.metadata) for checkpoint in checkpoints)
    networks: list[nn.Module] = []
    notes: list[str] = []
    for k, (path, checkpoint) in enumerate(zip(paths, checkpoints, strict=True)):
        network = _network(model, checkpoint, path)
        check_all_tensors(network.state_dict(), f"The network {type(network).__name__}")
        try:
            found = fitted(checkpoint, network, path)
        except WeightsError:
            if k > 0 and plain:  # is it the first of another architecture?
                check_members([checkpoints[0].tensors, checkpoint.tensors], [paths[0], path])
            raise
        check_state(found.tensors, path, network, check_finite=False)
        load_into(network, found.tensors, path)
        networks.append(network.to(target).eval())
        notes += [Note(f"{path}: {text}") for text in found.notes]
    return networks, [*notes, *differences(paths), *repeated(networks)]


def load_members(
    model: str,
    paths: Sequence[str],
    device: str = "cpu",
    *,
    on_disk: bool | None = None,
    selection: Selection = EVERYTHING,
) -> tuple[Sequence[nn.Module], list[str]]:
    """As `load_networks`, for a fold.

    Args:
        model: as there.
        paths: as there.
        device: as there.
        on_disk: whether members stay on disk; None: if their files have more than 4 GiB together.
        selection: as there.
    """
    if on_disk is None:
        files = [file for path in paths for file in with_shards(path)]
        on_disk = sum(file.stat().st_size for file in files if file.is_file()) > ON_DISK
    if not on_disk:
        return load_networks(model, paths, device, selection=selection)
    part = dataclasses.asdict(selection)
    found = DiskMembers(model, paths, device=check_device(device), **part)
    for path, metadata in zip(paths, found.metadata, strict=True):
        _refuse_several(path, metadata)
    told: list[str] = [text if text in found.repeated else Note(text) for text in found.notes]
    return found, [*told, *found.differences]


def _network(model: str, checkpoint: Checkpoint, path: str) -> nn.Module:
    """The network of a file: of the architecture, or of what it was made into."""
    network, metadata = build_model(model), checkpoint.metadata
    if RESIZED in metadata:
        return rebuilt(network, checkpoint, path)
    if PARTIAL in metadata:
        network.eval()
        return rebuild_partial(lambda _: network, metadata, path)
    if MIXTURE in metadata:
        return rebuild_mixture(lambda: build_model(model), metadata, path)
    return network


def _holds_several(metadata: Mapping[str, str]) -> bool:
    return MIXTURE in metadata or PARTIAL in metadata


def _refuse_several(path: str, metadata: Mapping[str, str]) -> None:
    """Raises MembersError if a file holds several networks."""
    if _holds_several(metadata):
        kind = "mixture" if MIXTURE in metadata else "partial merge"
        raise MembersError(
            f"{path} is a {kind} of several networks, which cannot be folded; give its members"
            " instead."
        )
