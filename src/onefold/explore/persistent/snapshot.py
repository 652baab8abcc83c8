"""The tensors of a network at one moment, bit for bit.

Parameters and buffers have the names that they have without wrappers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from onefold.batches import device_of
from onefold.copying import check_changeable
from onefold.distributed import from_first_rank, mean_over_ranks, several_ranks
from onefold.errors import PersistentError
from onefold.weights.checksums import state_checksum

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrapped(model: nn.Module) -> nn.Module:
    """The network itself, without its wrappers.

    These are torch.compile, (Distributed)DataParallel and the wrapper of lightning-fabric.
    """
    while True:
        inner = (
            model.module
            if isinstance(model, WRAPPERS)
            else getattr(model, "_orig_mod", getattr(model, "_original_module", None))
        )
        if not isinstance(inner, nn.Module):
            return model
        model = inner


class Snapshot:
    """The tensors of a network: parameters and buffers, by name; a shared one comes once."""

    def __init__(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
        self.parameters, self.buffers = dict(parameters), dict(buffers)

    @classmethod
    def of(cls, network: nn.Module) -> Snapshot:
        """A copy of the network's tensors.

        Raises:
            MembersError: torch.inference_mode() made the network, which could never get them back.
        """
        check_changeable(network)
        parameters, buffers = _tensors(network)
        return cls(
            {n: t.detach().clone() for n, t in parameters.items()},
            {n: t.detach().clone() for n, t in buffers.items()},
        )

    def check(self, network: nn.Module) -> None:
        """Check that a network has the same tensors; devices may differ.

        Raises:
            PersistentError: a tensor of the network is gone, is new, or has another shape or dtype.
        """
        for kind, own, now in zip(
            ("parameter", "buffer"), (self.parameters, self.buffers), _tensors(network), strict=True
        ):
            for name in [*own, *now]:
                before, after = (_describe(each.get(name)) for each in (own, now))
                if before != after:
                    raise PersistentError(
                        f"The model has changed since round 0: the {kind} '{name}' was {before} and"
                        f" is now {after}; give every round the same network."
                    )

    def placed(self, state: Sequence[Mapping[str, Tensor]]) -> Snapshot:
        """A copy of saved parameters and buffers, each on the device that it has here."""
        parameters, buffers = (
            {name: t.to(here[name].device, copy=True) for name, t in saved.items()}
            for saved, here in zip(state, (self.parameters, self.buffers), strict=True)
        )
        return Snapshot(parameters, buffers)

    def put_into(self, network: nn.Module) -> None:
        """Write all values into a network of the same tensors, in place, and drop its gradients.

        Raises:
            PersistentError: as `check`.
        """
        self.check(network)
        with torch.no_grad():
            for own, now in zip((self.parameters, self.buffers), _tensors(network), strict=True):
                for name, tensor in now.items():
                    tensor.copy_(own[name])
        network.zero_grad(set_to_none=True)

    def check_ranks(self, network: nn.Module) -> None:
        """Check that all ranks begin with the same tensors.

        Raises:
            PersistentError: they do not; it is raised on every rank.
        """
        if several_ranks():
            own = state_checksum(self.parameters | self.buffers)
            same = torch.tensor(float(own == from_first_rank(own)), device=device_of(network))
            if mean_over_ranks(same) < 1:
                raise PersistentError(
                    "The processes begin with different weights or buffers; wrap the model in"
                    " DistributedDataParallel first, or seed them alike."
                )


def _tensors(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return dict(network.named_parameters()), dict(network.named_buffers())


def _describe(tensor: Tensor | None) -> str:
    return (
        "not there"
        if tensor is None
        else f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
    )
