"""The output of an ensemble from those of its members."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onefold.ensemble.names import EnsembleMean
from onefold.ensemble.pool import ClassPool, mean_pool
from onefold.inference.outputs import broken_rows


def mean_output(rows: Sequence[Tensor], ensemble: EnsembleMean | ClassPool) -> Tensor:
    """The output of an ensemble from those of its members.

    "logits" and "outputs" are the mean of the tensors. "probabilities" is the logarithm of the mean
    of the probabilities, and a pool its unnormalised log-probabilities. In these two a row that is
    not finite in one member is NaN.

    Args:
        rows: for each member its output: logits (n, ..., classes), all of one shape; for "outputs"
            of any shape.
        ensemble: a name or a pool.

    Returns:
        A tensor shaped as one of `rows`.

    Raises:
        SettingError: the pool is of another number of members or classes.
    """
    if not isinstance(ensemble, ClassPool) and ensemble != "probabilities":
        return torch.stack(list(rows)).mean(0)
    pool = ensemble if isinstance(ensemble, ClassPool) else mean_pool([1.0] * len(rows))
    mean = pool.combined(rows)
    broken = torch.stack([broken_rows(logits) for logits in rows]).any(0)
    return mean.masked_fill(broken.unsqueeze(-1), torch.nan)
