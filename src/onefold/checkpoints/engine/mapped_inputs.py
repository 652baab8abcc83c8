"""Tensors over the vocabulary, read with the rows of the result: all of them, or a range."""

from __future__ import annotations

from torch import Tensor

from onefold.checkpoints.document import Reference
from onefold.checkpoints.engine.inputs import Inputs
from onefold.checkpoints.layouts import Held
from onefold.checkpoints.plan.token_rows import TokenRows
from onefold.checkpoints.vocabulary.row_map import Means, mapped


class MappedInputs:
    """Reads the inputs of one tensor over the vocabulary.

    Args:
        rows: where its rows are from.
        inputs: the files of the models.
    """

    def __init__(self, rows: TokenRows, inputs: Inputs) -> None:
        self.rows, self.inputs = rows, inputs
        self.means: Means = {}

    def tensor(self, held: Held, start: int = 0, stop: int | None = None) -> Tensor:
        """A model's tensor with the rows of the result, contiguous; never to be modified.

        Args:
            held: the tensor.
            start: the first row that is wanted.
            stop: one behind the last; None: all.
        """
        found = mapped(
            self.rows.members[held],
            self._whole,
            axis=self.rows.axis,
            start=start,
            stop=stop,
            means=self.means,
        )
        return found.contiguous()

    def _whole(self, model: Reference) -> Tensor:
        return self.inputs.tensor(self.rows.held[model])
