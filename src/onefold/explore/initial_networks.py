"""Networks of one architecture, each from another initialisation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from onefold.errors import SettingError


def initial_network(
    factory: Callable[[], nn.Module], seed: int, number: int = 0, what: str = "The architecture"
) -> nn.Module:
    """The architecture's network of a number: each number begins from another initialisation.

    The generators of the process are left as they were.

    Args:
        factory: makes a network, and draws its weights from torch's generator.
        seed: of number 0, from which the seeds of all others follow.
        number: from 0.
        what: the beginning of the message of an error.

    Raises:
        SettingError: the network always begins from the same weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = factory()
        if number:
            first = dict(network.named_parameters())
            torch.manual_seed(seed + 1_000_003 * number)
            network = factory()
            if all(torch.equal(value, first[name]) for name, value in network.named_parameters()):
                raise SettingError(
                    f"{what} always begins from the same weights, so there is nothing to restart"
                    " from."
                )
    return network
