"""Networks given together, as one type: those in memory and those that stay on disk.

`as_members` makes the type of whatever a caller passes. Code that treats the two kinds alike takes
a `Members`, or any sequence of networks. Code that must not have all networks in memory asks
`on_disk`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard, overload

import torch
from torch import nn

from onefold.batches import as_device, device_of
from onefold.copying import copied
from onefold.given import check_ready, no_network
from onefold.weights import repeated


class Members(Sequence[nn.Module]):
    """K networks as a sequence; a slice is a list."""

    @property
    @abstractmethod
    def resident(self) -> bool:
        """Whether all networks are in memory at once.

        Networks that are not resident are read when they are asked for. They are in eval mode and
        were checked against one another.
        """

    @property
    @abstractmethod
    def repeated(self) -> tuple[str, ...]:
        """One sentence for each network that is another one again."""

    @abstractmethod
    def on(self, device: torch.device | str | None) -> Members:
        """The members on `device`; None leaves them where they are."""


class ResidentMembers(Members):
    """Networks in memory.

    Args:
        networks: the networks, in their order. They are not copied.

    Raises:
        MembersError: something is no nn.Module, or has lazy modules that did not run yet.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        self._networks = list(networks)
        for k, network in enumerate(self._networks):
            if not isinstance(network, nn.Module):
                raise no_network(network, f"Member {k}")
            check_ready(network, f"Member {k}")

    @property
    def resident(self) -> bool:
        """True."""
        return True

    @property
    def repeated(self) -> tuple[str, ...]:
        """One sentence for each network that is another one again, compared at each call."""
        return tuple(repeated(self._networks))

    def on(self, device: torch.device | str | None) -> ResidentMembers:
        """The members on `device`: copies of those that are on another one."""
        wanted = as_device(device)
        if wanted is None:
            return self
        return ResidentMembers(
            network if device_of(network) == wanted else copied(network).to(wanted)
            for network in self._networks
        )

    def __len__(self) -> int:
        return len(self._networks)

    @overload
    def __getitem__(self, index: int) -> nn.Module: ...
    @overload
    def __getitem__(self, index: slice) -> list[nn.Module]: ...
    def __getitem__(self, index: int | slice) -> nn.Module | list[nn.Module]:
        """Member `index`, or a list of members for a slice."""
        return self._networks[index]

    def __repr__(self) -> str:
        return f"ResidentMembers({len(self)} networks)"


def as_members(models: Any) -> Members:
    """One network, several of them, or members, as members.

    Args:
        models: an nn.Module, an iterable of them (also an nn.ModuleList), or `Members`, which are
            returned as they are.

    Raises:
        MembersError: something is no nn.Module.
    """
    if isinstance(models, Members):
        return models
    one = isinstance(models, nn.Module) and not isinstance(models, nn.ModuleList)
    return ResidentMembers([models] if one else models)


def on_disk(models: object) -> TypeGuard[Members]:
    """Whether `models` are members that are read when they are asked for."""
    return isinstance(models, Members) and not models.resident
