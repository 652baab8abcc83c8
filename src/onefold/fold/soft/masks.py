"""Masks: the gates that stay shut because a member's tensors are not finite."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from onefold.errors import MembersError
from onefold.fold.soft.sites import Site, broken


def mask_parts(
    sites: Sequence[Site], states: Sequence[Mapping[str, Tensor]], survivors: Collection[int]
) -> tuple[Tensor, dict[tuple[str, int], str]]:
    """The gates of modules or layers that may be open.

    Args:
        sites: the gated parts.
        states: the members' state dicts in one basis.
        survivors: the members that take part.

    Returns:
        Whether a gate may be open (sites, members), and (site name, member) -> why one is shut.

    Raises:
        MembersError: no member's copy of a part is finite.
    """
    alive = _open(len(sites), len(states), survivors)
    masked = {}
    for s, site in enumerate(sites):
        for k in survivors:
            if name := broken(site, states[k]):
                masked[site.name, k] = f"'{name}' is not finite"
                alive[s, k] = False
        if not alive[s].any():
            raise MembersError(
                f"'{site.name}' holds NaN or infinity in every member, so nothing of it can"
                " be kept; exclude it."
            )
    return alive, masked


def mask_networks(
    site: Site, members: Sequence[nn.Module], survivors: Collection[int], *, screened: bool
) -> tuple[Tensor, dict[tuple[str, int], str]]:
    """The gates (1, members) of whole networks that may be open, and why others are shut.

    Networks that were screened have been judged by their outputs already.

    Raises:
        MembersError: no member is finite.
    """
    alive = _open(1, len(members), survivors)
    masked = {}
    for k in () if screened else survivors:
        tensors = members[k].state_dict().values()
        if not all(bool(t.isfinite().all()) for t in tensors if t.is_floating_point()):
            masked[site.name, k] = "it holds NaN or infinity"
            alive[0, k] = False
    if not alive.any():
        raise MembersError(
            "Every member holds NaN or infinity, so that nothing can be kept; check the members."
        )
    return alive, masked


def _open(sites: int, members: int, survivors: Collection[int]) -> Tensor:
    """(sites, members): True for the survivors."""
    alive = torch.zeros(sites, members, dtype=torch.bool)
    alive[:, list(survivors)] = True
    return alive
