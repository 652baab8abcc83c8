"""The output of an ensemble from those of its members."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onefold.ensemble.names import EnsembleMean
from onefold.ensemble.pool import ClassPool, mean_pool
from onefold.inference.outputs import broken_rows


def mean_output(rows: Sequence[Tensor], ensemble: EnsembleMean | ClassPool) -> Tensor:
    """The unnormalised log-probabilities (n, ..., classes) of an ensemble, from its members' logits
    of this shape.

    They are the mean of the logits, the logarithm of the mean of the probabilities, or what a pool
    makes of them; a row that is broken in one member is broken in all.
    """
    if ensemble == "logits":
        return torch.stack(list(rows)).mean(0)
    pool = ensemble if isinstance(ensemble, ClassPool) else mean_pool([1.0] * len(rows))
    mean = pool.combined(rows)
    broken = torch.stack([broken_rows(logits) for logits in rows]).any(0)
    return mean.masked_fill(broken.unsqueeze(-1), torch.nan)
