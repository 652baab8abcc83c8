"""Rows of vocabulary tensors in the order of the result, with what a model lacks filled in."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from onefold.checkpoints.engine.vocabularies import ABSENT, Vocabulary


def in_order(vocabulary: Vocabulary, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of all models with the rows of the result.

    Args:
        vocabulary: which row stands for which.
        tensors: model -> (rows, ...), those models that have the tensor.

    Returns:
        model -> (vocabulary.size, ...) in the dtype of the model's own.
    """
    places = {m: torch.tensor(vocabulary.rows[m], dtype=torch.int64) for m in tensors}
    found = {m: t.index_select(0, places[m].clamp(min=0)) for m, t in tensors.items()}
    for owners, rows in vocabulary.filled.items():
        at = torch.tensor(rows, dtype=torch.int64)
        having = [m for m in owners if m in tensors]
        values = None
        if having:
            parts = [tensors[m].index_select(0, places[m][at]).float() for m in having]
            values = torch.stack(parts).mean(0)
        for model, tensor in found.items():
            lacking = places[model][at] == ABSENT
            if bool(lacking.any()):
                filling = 0.0 if values is None else values[lacking].to(tensor.dtype)
                tensor[at[lacking]] = filling
    return found
