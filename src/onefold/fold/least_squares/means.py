"""Class means of classifiers: a shift after which mean probabilities are those of a pool.

The shift b is one number for each class,

    mean_x softmax(f(x) + b) = mean_x q(x).

Least squares of log-probabilities does not see to that, and a class that is lost in the mean is
lost altogether. The equation is the condition for the constant that brings f nearest to q in the
Kullback-Leibler divergence. It is the last step of a fold that aims at a pool of classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onefold.ensemble.class_shares import matching_shifts
from onefold.fold.least_squares.layers import Site
from onefold.fold.least_squares.outputs import Calibration
from onefold.fold.least_squares.rows import Sample
from onefold.symmetry import TracedNetwork


def match_means(
    traced: TracedNetwork,
    state: dict[str, Tensor],
    site: Site,
    calibration: Calibration,
    samples: Sequence[Sample],
    target: Tensor,
) -> None:
    """Shift the bias of the output layer in `state`, in place, if it has one.

    Args:
        traced: the traced network.
        state: the folded state.
        site: the site of the output layer.
        calibration: the batches.
        samples: the sampled positions of every batch.
        target: log q at these positions (rows, classes).
    """
    layer = next(
        (x for x in site.layers if x.bias is not None and x.norm is None and x.groups == 1), None
    )
    if layer is None or layer.bias is None:
        return
    rows = []
    for batch, sample in zip(calibration.batches, samples, strict=True):

        def visit(_: str, values: list[Tensor], sample: Sample = sample) -> None:
            rows.append(sample.take(values[0]))

        traced.replay(
            [state], batch.args, batch.kwargs, visit=visit, nodes=[site.target], until=site.target
        )
    shifts = matching_shifts(torch.cat(rows).double(), target.double().softmax(1).mean(0))
    bias = state[layer.bias]
    state[layer.bias] = (bias.double() + shifts).to(bias.dtype)
