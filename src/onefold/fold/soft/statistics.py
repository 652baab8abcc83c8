"""Statistics of gated batch norms, measured on data.

Their inputs come from gated layers or modules, and no member's norm has seen such inputs.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from onefold.batches import Data
from onefold.batchnorm import NormModule, norms_of, reestimate
from onefold.distributed import mean_over_ranks
from onefold.fold.soft.copies import filled_copy
from onefold.fold.soft.mixture import Mixture
from onefold.fold.soft.weighted import GatedLayers


def measure(body: GatedLayers, gates: Tensor, data: Data) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance (channels,) of every gated batch norm's inputs over `data`.

    Args:
        body: the gated layers.
        gates: (sites, members).
        data: batches; labels are not used.

    Returns:
        Module name -> mean and variance.

    Raises:
        DataError: the data is empty, used up, or the network cannot run on it.
    """
    network = filled_copy(body.skeleton, body.skeleton, body.weights(gates, batch=True))
    names = {
        name
        for name, norm in body.norms.items()
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm)
    }
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


def own_statistics(body: nn.Module, gated: Collection[str]) -> dict[str, NormModule]:
    """The batch norms within the gated modules of `body`, by name.

    Their statistics become copies, so that the members' stay as they are.
    """
    norms = {id(norm) for norm in norms_of(body)}
    found = {}
    for name, module in body.named_modules():
        if (
            id(module) in norms
            and isinstance(module, NormModule)
            and any(name.startswith(f"{site}.") for site in gated)
        ):
            for buffer, value in list(module.named_buffers(recurse=False)):
                setattr(module, buffer, value.clone())
            found[name] = module
    return found


def remeasure(body: nn.Module, norms: dict[str, NormModule], data: Data) -> int:
    """Measure the statistics of the norms in mixtures on `data`, in place.

    Norms in parts that are not run are left out.

    Returns:
        The number of norms that were measured.

    Raises:
        DataError: the data is empty, used up, or the network cannot run on it.
    """
    idle = {
        f"{name}.parts.{k}."
        for name, mixture in body.named_modules()
        if isinstance(mixture, Mixture)
        for k, weight in enumerate(mixture.weights.tolist())
        if weight == 0.0
    }
    names = [name for name in norms if not any(f"{name}.".startswith(part) for part in idle)]
    if not names:
        return 0
    reestimate(body, data, only=names)
    for name in names:
        for value in (norms[name].running_mean, norms[name].running_var):
            assert isinstance(value, Tensor)
            value.copy_(mean_over_ranks(value))
    return len(names)
