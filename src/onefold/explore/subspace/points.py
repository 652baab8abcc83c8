"""Plain networks at points of a subspace.

Statistics of a norm belong to one network. Those gathered in training belong to no single point, so
that they are computed anew for every point (Wortsman et al. 2021, section 4).
"""

from __future__ import annotations

from torch import nn

from onefold.batches import Data
from onefold.batchnorm import norms_of, reestimate
from onefold.caches import clear_eval_caches
from onefold.errors import SubspaceError


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator takes.

    Raises:
        SubspaceError: it is negative.
    """
    if seed < 0:
        raise SubspaceError(f"A seed is a whole number of 0 or more, not {seed}.")


def with_statistics(network: nn.Module, data: Data | None, what: str) -> nn.Module:
    """The network in evaluation mode, with its normalisation statistics computed on data.

    Args:
        network: is changed in place.
        data: training batches; None if the network has no batch norm.
        what: the network's name in the message of an error.

    Raises:
        SubspaceError: the network has batch norm, and there is no data.
    """
    norms = norms_of(network)
    if norms and data is None:
        names = [
            name
            for name, module in network.named_modules()
            if any(module is norm for norm in norms)
        ]
        more = f" and {len(names) - 1} more" * (len(names) > 1)
        raise SubspaceError(
            f"{what[:1].upper()}{what[1:]} needs data: the network has batch norm"
            f" ('{names[0]}'{more}), whose statistics belong to no point of the subspace until they"
            " are computed for it; pass training batches as data=."
        )
    network.eval()
    clear_eval_caches(network)
    if norms and data is not None:
        reestimate(network, data)
    return network
