"""Bodies: the networks behind the gates of module level, and what is left once gates are fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onefold.batches import device_of
from onefold.fold.soft.copies import own_copy, shared_copy
from onefold.fold.soft.mixture import Mixture, Outputs
from onefold.fold.soft.sites import Site
from onefold.inference import ANY, Output


def module_body(
    members: Sequence[nn.Module],
    states: Sequence[Mapping[str, Tensor]],
    sites: Sequence[Site],
    alive: Tensor,
    base: int,
) -> nn.Module:
    """A copy of member `base` with a Mixture in place of every gated module.

    The copy shares its tensors with `states`.

    Args:
        members: the networks.
        states: their state dicts in one basis.
        sites: the gated modules.
        alive: (sites, members), the parts of each Mixture.
        base: the member whose ungated parts are used.
    """
    sources = [shared_copy(model, state) for model, state in zip(members, states, strict=True)]
    body = shared_copy(members[base], states[base])
    for site, row in zip(sites, alive, strict=True):
        live = [k for k in range(len(members)) if row[k]]
        parts = [sources[k].get_submodule(site.name) for k in live]
        weights = torch.full(
            (len(live),), 1.0 / len(live), device=device_of(body), dtype=torch.float32
        )
        body.set_submodule(site.name, Mixture(parts, weights))
    return body


def hardened_modules(
    body: nn.Module, sites: Sequence[Site], gates: Tensor, live: Sequence[Sequence[int]]
) -> nn.Module:
    """A copy of a body with what is left of every gated module, with tensors of its own.

    Args:
        body: as `module_body` made it.
        sites: the gated modules.
        gates: (sites, members).
        live: the members behind each gated module.
    """
    network = own_copy(shared_copy(body))
    for row, site, members in zip(gates, sites, live, strict=True):
        mixture: Any = body.get_submodule(site.name)
        network.set_submodule(site.name, remaining(list(mixture.parts), row[list(members)]))
    return network.eval()


def remaining(
    parts: Sequence[nn.Module],
    weights: Tensor,
    *,
    outputs: Outputs | None = None,
    output: Output = ANY,
) -> nn.Module:
    """The parts whose weight is not 0, with tensors of their own.

    That is the only part as it is, or a Mixture.

    Args:
        parts: the modules.
        weights: their gates (parts,).
        outputs: how a Mixture sums outputs.
        output: which output is meant.
    """
    left = [k for k, weight in enumerate(weights.tolist()) if weight != 0.0]
    if len(left) == 1 and float(weights[left[0]]) == 1.0:
        return own_copy(parts[left[0]]).eval()
    copies = [own_copy(parts[k]) for k in left]
    return Mixture(copies, weights[left].clone(), outputs=outputs, output=output).eval()
