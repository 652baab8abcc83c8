"""A classifier shifted to other shares of the classes, by the bias of its last layer.

    f'(x) = f(x) + b,    b_c = log pi_c - log s_c  (`onefold.ensemble.pool`)

is the same network with b added to one bias. Which bias that is, is found by trial: a bias of C
numbers, the last one first, by whose change the outputs of a batch change by b and nothing else.

Saerens, Latinne & Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori
Probabilities" (Neural Computation 14).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onefold.batches import Batch, Data, batches, device_of
from onefold.caches import clear_eval_caches
from onefold.copying import copied
from onefold.inference import ClassAxis, Output, run
from onefold.inference.running import eval_mode

ROUNDING = 1e-3  # of the largest output, in float32


def balanced(network: nn.Module, shifts: Tensor, data: Data, output: Output) -> nn.Module | None:
    """A copy of a classifier that puts out its logits and `shifts`; None if no bias can do it.

    Args:
        network: the classifier; it stays as it is.
        shifts: (C,), added to the logits.
        data: batches, of which the first is run.
        output: which output is meant.

    Raises:
        DataError: nothing says where the classes of the output are.
    """
    batch = next(batches(data, device_of(network), "calibration data"))
    twin = copied(network)
    before = _logits(twin, batch, output)
    largest = max(1.0, float(before.abs().max()), float(shifts.abs().max()))
    wanted = before + shifts.to(before)
    for _, bias in reversed(list(twin.named_parameters())):
        if bias.shape != shifts.shape or not bias.is_floating_point():
            continue
        kept = bias.detach().clone()
        with torch.no_grad():
            bias.add_(shifts.to(bias))
        clear_eval_caches(twin)
        after = _logits(twin, batch, output)
        if bool(((after - wanted).abs() <= ROUNDING * largest).all()):
            return twin
        with torch.no_grad():
            bias.copy_(kept)
    return None


def _logits(network: nn.Module, batch: Batch, output: Output) -> Tensor:
    axis = ClassAxis(output, "shifting a classifier to other shares of the classes")
    with eval_mode([network]):
        return axis.last(run(network, batch, output), batch.labels).double()
