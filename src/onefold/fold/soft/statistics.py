"""Statistics of gated batch norms, measured on data: what the gated layers feed them is what no member's norm has seen."""

from __future__ import annotations

import torch
from torch import Tensor

from onefold.batches import Data
from onefold.batchnorm import reestimate
from onefold.fold.soft.sharing import filled_copy
from onefold.fold.soft.weighted import GatedLayers
from onefold.ranks import mean_over_ranks


def measure(body: GatedLayers, gates: Tensor, data: Data) -> dict[str, tuple[Tensor, Tensor]]:
    """Module name of every gated batch norm -> mean and variance (channels,) of its inputs over `data`, for gates (sites, members).

    Raises:
        DataError: the data is empty, used up, or the network cannot run on it.
    """
    network = filled_copy(body.skeleton, body.skeleton, body.weights(gates, batch=True))
    names = {name for name, norm in body.norms.items() if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm)}
    for name in body.norms:
        network.get_submodule(name).track_running_stats = True  # type: ignore[assignment]
    reestimate(network, data, only=names)
    found = {}
    for name in sorted(names):
        norm = network.get_submodule(name)
        assert isinstance(norm.running_mean, Tensor)
        assert isinstance(norm.running_var, Tensor)
        found[name] = (mean_over_ranks(norm.running_mean), mean_over_ranks(norm.running_var))
    return found
