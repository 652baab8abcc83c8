"""Several networks that answer as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from onefold.batches import logits_of
from onefold.errors import SubspaceError
from onefold.measure.evaluation import mean_output
from onefold.measure.scores import ENSEMBLE_MEANS, EnsembleMean


class Ensemble(nn.Module):
    """The mean of the members' logits, or the logarithm of the mean of their probabilities over the last axis.

    Either way what comes out goes into a cross-entropy or an argmax as logits do. scores: "probabilities" or "logits".

    Raises:
        SubspaceError: there are no such scores to average.
    """

    def __init__(self, members: Sequence[nn.Module], scores: EnsembleMean = "probabilities") -> None:
        super().__init__()
        check_scores(scores)
        self.members = nn.ModuleList(members)
        self.scores: EnsembleMean = scores

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The mean (n, ..., classes) for the inputs of any one member."""
        return mean_output([logits_of(member(*args, **kwargs)) for member in self.members], self.scores)

    def extra_repr(self) -> str:
        return f"scores={self.scores!r}"


def check_scores(scores: str) -> None:
    """Raises SubspaceError where there are no such scores to average."""
    if scores not in ENSEMBLE_MEANS:
        raise SubspaceError(f"An ensemble averages 'probabilities' or 'logits', not '{scores}'.")
