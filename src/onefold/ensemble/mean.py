"""The output of an ensemble from those of its members: a task's mean, or a pool of classes.

Pools are for classifiers alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onefold.ensemble.names import EnsembleMean
from onefold.ensemble.pool import ClassPool
from onefold.inference.outputs import broken_rows
from onefold.tasks import Classification, Task
from onefold.tasks.means import plain_mean


def mean_output(
    rows: Sequence[Tensor], ensemble: EnsembleMean | ClassPool, task: Task | None = None
) -> Tensor:
    """The output of an ensemble from those of its members.

    "logits" and "outputs" are the mean of the tensors, unless a task of a user's own says something
    else. "probabilities" is that of the task: of classes the logarithm of the mean of the
    probabilities. A pool gives unnormalised log-probabilities. In the last two a row that is not
    finite in one member is NaN.

    Args:
        rows: for each member its output: (..., D) as a task's reader gives it, all of one shape;
            for "outputs" of any shape.
        ensemble: a name or a pool.
        task: of the outputs; None: they are logits of classes.

    Returns:
        A tensor shaped as one of `rows`.

    Raises:
        SettingError: the pool is of another number of members or classes.
    """
    if not isinstance(ensemble, ClassPool) and ensemble != "probabilities":
        return plain_mean(rows) if task is None else task.mean(rows, ensemble)
    if isinstance(ensemble, ClassPool):
        mean = ensemble.combined(rows)
    else:
        mean = (task or Classification()).mean(rows, ensemble)
    broken = torch.stack([broken_rows(logits) for logits in rows]).any(0)
    return mean.masked_fill(broken.unsqueeze(-1), torch.nan)
