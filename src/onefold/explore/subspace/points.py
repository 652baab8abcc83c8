"""Networks out of a subspace: plain modules at its points, and ensembles of several.

Normalisation statistics belong to one network, and those gathered in training belong to no point in particular, so that they are computed
anew for every point (Wortsman et al. 2021, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onefold.batches import Data, reusable
from onefold.batchnorm import norms_of, reestimate
from onefold.errors import SubspaceError

SCORES = ("probabilities", "logits")


class Ensemble(nn.Module):
    """Several networks that answer as one: the mean of their logits, or the logarithm of the mean of their probabilities over the last axis.

    Either way what comes out goes into a cross-entropy or an argmax as logits do. scores: "probabilities" or "logits".
    """

    def __init__(self, members: Sequence[nn.Module], scores: str = "probabilities") -> None:
        super().__init__()
        check_scores(scores)
        self.members = nn.ModuleList(members)
        self.scores = scores

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        outputs = [member(*args, **kwargs) for member in self.members]
        logits = torch.stack([getattr(output, "logits", output) for output in outputs])
        if self.scores == "logits":
            return logits.mean(0)
        return logits.log_softmax(-1).logsumexp(0) - torch.tensor(float(len(self.members))).log().item()

    def extra_repr(self) -> str:
        return f"scores={self.scores!r}"


def check_scores(scores: str) -> None:
    """Raises SubspaceError where there are no such scores to average."""
    if scores not in SCORES:
        raise SubspaceError(f"An ensemble averages 'probabilities' or 'logits', not '{scores}'.")


def settled(network: nn.Module, data: Data | None, what: str) -> nn.Module:
    """The network in evaluation mode, its normalisation statistics computed on `data`, which may be None where it has none.

    Raises:
        SubspaceError: it has batch norm, and there is no data.
    """
    norms = norms_of(network)
    if norms and data is None:
        names = [name for name, module in network.named_modules() if any(module is norm for norm in norms)]
        more = f" and {len(names) - 1} more" * (len(names) > 1)
        raise SubspaceError(
            f"{what[:1].upper()}{what[1:]} needs data: the network has batch norm ('{names[0]}'{more}), whose statistics belong to no point of the "
            "subspace until they are computed for it; pass training batches as data=."
        )
    network.requires_grad_(True).eval()
    if norms and data is not None:
        reestimate(network, data)
    return network


def once(data: Data | None) -> Data | None:
    """Data that can be walked through for every member of an ensemble."""
    return None if data is None else reusable(data)
