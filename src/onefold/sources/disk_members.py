"""Members that stay on disk: each is read when it is asked for, and freed with its last user.

`onefold.align` and `onefold.merge` take them instead of a list of networks, and then have no more
than two members in memory at a time.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

import torch
from torch import nn

from onefold.errors import MembersError, WeightsError
from onefold.patterns import Patterns
from onefold.sources.members import Members
from onefold.sources.models import resolve_model
from onefold.sources.pretrained_folders import differences, told_model
from onefold.weights import (
    Selection,
    check_all_tensors,
    check_members,
    check_state,
    checksum,
    fitted,
    load_into,
    read,
)
from onefold.weights.duplicates import told, twins
from onefold.weights.files import PathLike
from onefold.weights.reader import Checkpoint
from onefold.weights.resized import advice


class DiskMembers(Members):
    """K checkpoints of one architecture as a sequence of networks in eval mode.

    `members[k]` builds a network and reads its weights. A network that is still in use somewhere is
    returned again, so do not change it. Every file is read once at the start, one tensor at a time,
    to check that all weights are finite and fit the network.

    Args:
        build: makes the network, or its name as in `onefold.sources.resolve_model`; None: the
            members are folders of `save_pretrained`, which tell it.
        paths: a checkpoint for each member, as `onefold.load` takes it. Leave the files alone while
            this is in use.
        device: the device of the networks.
        check_finite: refuse NaN and infinity, which reads all values.
        entry: the part of every file to read, as in `onefold.load`. The names of the network say
            which prefixes are taken off.
        prefix: as in `onefold.load`.
        keys: as in `onefold.load`.
        drop: as in `onefold.load`.

    Attributes:
        paths: the checkpoints, as given.
        metadata: the free-text entries of every checkpoint.
        notes: the steps to the weights, and `repeated`, one sentence each.
        differences: what configs of folders of `save_pretrained` say otherwise than the first one,
            one sentence each.

    Raises:
        MembersError: there is no checkpoint, no network is named and the members tell none, or they
            are of different architectures.
        WeightsError: a file is missing, damaged, unsafe, quantised, not finite, or does not fit the
            network.
        SettingError: the name of the network is unknown.
    """

    def __init__(
        self,
        build: str | Callable[[], nn.Module] | None,
        paths: Sequence[PathLike | Sequence[PathLike]],
        *,
        device: torch.device | str = "cpu",
        check_finite: bool = True,
        entry: str | None = None,
        prefix: str | None = None,
        keys: Patterns = None,
        drop: Patterns = None,
    ) -> None:
        if isinstance(paths, str | os.PathLike) or not paths:
            raise MembersError(
                "Members on disk need a list of checkpoints, one for each; give at least one path."
            )
        self.paths = tuple(paths)
        if build is None:
            build = told_model(self.paths)
        self._build = resolve_model(build) if isinstance(build, str) else build
        self._device = torch.device(device)
        self._alive: weakref.WeakValueDictionary[int, nn.Module] = weakref.WeakValueDictionary()
        self._selection = Selection(entry, prefix, keys, drop)
        network = self._new()
        check_all_tensors(network.state_dict(), f"The network {type(network).__name__}")
        self.metadata: tuple[dict[str, str], ...] = ()
        self.notes: tuple[str, ...] = ()
        self._files: list[tuple[Path, ...]] = []
        self._stamps: list[tuple[tuple[int, int], ...]] = []
        states: list[Mapping[str, torch.Tensor]] = []
        first = read(self.paths[0], check_finite=False, selection=self._selection)
        for path in self.paths:
            stored = read(path, check_finite=check_finite, selection=self._selection)
            name = str(stored.paths[0])
            try:
                checkpoint = fitted(stored, network)
            except WeightsError:
                resized = advice(stored.metadata)
                if (
                    path is not self.paths[0] and not resized
                ):  # is it the first of another architecture?
                    pair = [first.tensors, stored.tensors]
                    check_members(pair, [str(first.paths[0]), name])
                raise
            check_state(checkpoint.tensors, name, network, check_finite=False)
            self._files.append(checkpoint.paths)
            self._stamps.append(_stamps(checkpoint))
            self.metadata += (checkpoint.metadata,)
            states.append((stored if checkpoint.converted else checkpoint).tensors)  # on disk
            self.notes += tuple(f"{name}: {note}" for note in checkpoint.notes)
        same = {k: (i, "hold the same weights") for i, k in twins(states)}
        self._repeated = tuple(told(same))
        self.notes += self._repeated
        self.differences = tuple(differences(self.paths))

    @property
    def resident(self) -> bool:
        """Always False, as each network is read when it is asked for."""
        return False

    @property
    def repeated(self) -> tuple[str, ...]:
        """One sentence for each member whose weights another one has, whatever their files are."""
        return self._repeated

    def on(self, device: torch.device | str | None) -> DiskMembers:
        """The members themselves: their networks go to the device that they were made for."""
        return self

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> nn.Module: ...
    @overload
    def __getitem__(self, index: slice) -> list[nn.Module]: ...
    def __getitem__(self, index: int | slice) -> nn.Module | list[nn.Module]:
        """Member `index`; a slice reads all of its members.

        Raises:
            WeightsError: a file was changed meanwhile.
        """
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        k = range(len(self))[index]
        alive = self._alive.get(k)
        if alive is not None:
            return alive
        checkpoint = read(self.paths[k], check_finite=False, selection=self._selection)
        if _stamps(checkpoint) != self._stamps[k]:
            raise WeightsError(
                f"{checkpoint.paths[0]} was changed while it was in use; leave the members alone,"
                " and begin anew."
            )
        network = self._new()
        state = fitted(checkpoint, network).tensors
        load_into(network, state, str(checkpoint.paths[0]))
        self._alive[k] = network = network.to(self._device).eval()
        return network

    def _new(self) -> nn.Module:
        # The first weights are overwritten, so they must not change the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            return self._build()

    def __iter__(self) -> Iterator[nn.Module]:
        for k in range(len(self)):
            yield self[k]

    def checksums(self, member: int) -> tuple[str, ...]:
        """SHA-256 of each file of a member."""
        return tuple(checksum(path) for path in self._files[member])

    def __repr__(self) -> str:
        return f"DiskMembers({len(self)} checkpoints, {len(self._alive)} in memory)"


def _stamps(checkpoint: Checkpoint) -> tuple[tuple[int, int], ...]:
    """Time of change (ns) and size (bytes) of each file, by which a changed file is recognised."""
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in map(os.stat, checkpoint.paths))
