"""How far networks are from the ensemble of the members on the calibration data.

    mean_x |f(x) - mean_k f_k(x)|^2                             of the mean of logits or outputs
    mean_x KL(q(x) || softmax(f(x))),  q the ensemble's         of a classifier's probabilities

Cost: a forward pass of each member and of each network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from onefold.batches import Batch
from onefold.ensemble.pool import ClassPool
from onefold.fold.least_squares.output_layers import Read
from onefold.fold.least_squares.plan import Plan
from onefold.symmetry import TracedNetwork

Network = tuple[TracedNetwork, Mapping[str, Tensor]]  # a graph, and a state dict of its widths


@torch.no_grad()
def distances(plan: Plan, networks: Sequence[Network], read: Read) -> list[float]:
    """The distance of each network, inf for one whose outputs are not finite.

    Args:
        plan: the members, their shares, the calibration data and the ensemble.
        networks: of any widths.
        read: from what a network returns to the output that counts.
    """
    totals, count = [0.0] * len(networks), 0
    for batch in plan.calibration.batches:
        outputs = [_run((plan.traced, state), batch, read) for state in plan.members]
        aim = _aim(outputs, plan.shares, plan.pool)
        count += aim.shape[0]
        for number, network in enumerate(networks):
            found = _run(network, batch, read)
            totals[number] += float(_apart(found, aim, plan.pool is not None))
    return [t / count if t < float("inf") else float("inf") for t in totals]


def _run(network: Network, batch: Batch, read: Read) -> Tensor:
    traced, state = network
    steps, inputs = traced.plan_for(batch.args, batch.kwargs)
    return read(steps.run([state], inputs, lambda *_: None, set())[0]).double()


def _aim(outputs: Sequence[Tensor], shares: Sequence[float], pool: ClassPool | None) -> Tensor:
    if pool is not None:
        return pool.combined(outputs).log_softmax(-1)
    return torch.stack([share * own for share, own in zip(shares, outputs, strict=True)]).sum(0)


def _apart(found: Tensor, aim: Tensor, pooled: bool) -> Tensor:
    """The sum over the examples of a batch; over positions the mean."""
    if not pooled:
        errors = (found - aim).square()
        return errors.flatten(1).mean(1).sum() if errors.dim() > 1 else errors.sum()
    own = F.kl_div(found.log_softmax(-1), aim, log_target=True, reduction="none").sum(-1)
    return own.flatten(1).mean(1).sum() if own.dim() > 1 else own.sum()
