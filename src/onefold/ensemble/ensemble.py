"""Several networks that answer as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from onefold.ensemble.mean import mean_output
from onefold.ensemble.names import ENSEMBLE_MEANS, EnsembleMean
from onefold.errors import SubspaceError
from onefold.inference import ClassAxis, OutputChoice, as_output


class Ensemble(nn.Module):
    """The mean of the members' logits, or the logarithm of the mean of their probabilities.

    Either way what comes out goes into a cross-entropy or an argmax as logits do, and its axes are
    those of the members' outputs.

    Args:
        scores: "probabilities" or "logits".
        output: which output is averaged where the members return several, and on which axis its
            classes lie (`onefold.inference`). Probabilities need the axis, which is known of
            outputs (n, classes) alone.

    Raises:
        SubspaceError: there are no such scores to average.
    """

    selects_output = True

    def __init__(
        self,
        members: Sequence[nn.Module],
        scores: EnsembleMean = "probabilities",
        output: OutputChoice = None,
    ) -> None:
        super().__init__()
        self.output = as_output(output)
        check_scores(scores)
        self.members = nn.ModuleList(members)
        self.scores: EnsembleMean = scores

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The mean for the inputs of any one member, shaped as the member's output.

        Raises:
            DataError: nothing says which output is meant, or where its classes are.
        """
        found = [self.output.of(member(*args, **kwargs), member) for member in self.members]
        if self.scores == "logits":
            return mean_output(found, "logits")
        axis = ClassAxis(self.output, "a mean of probabilities").of(found[0])
        return mean_output([one.movedim(axis, -1) for one in found], self.scores).movedim(-1, axis)

    def extra_repr(self) -> str:
        return f"scores={self.scores!r}"


def check_scores(scores: str) -> None:
    """Raises SubspaceError where there are no such scores to average."""
    if scores not in ENSEMBLE_MEANS:
        raise SubspaceError(f"An ensemble averages 'probabilities' or 'logits', not '{scores}'.")
