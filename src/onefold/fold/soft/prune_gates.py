"""The last steps to zero: members are left out if their gates are not worth their cost.

Gradients follow a surrogate of the number of open gates, and stop after some steps. Here the
objective itself decides: a member is shut out if that does not raise  mean l(soft(x), y) + lambda *
(share of gates that are not 0), with the loss l of the task.

A suspect is a member that by itself is worse than guessing. It stays only if leaving it out makes
the loss worse by more than two standard errors of the difference, example by example. An honest
member that knows only some classes is a suspect too, and passes easily.

Members are tried once each, the one with the smallest gates first. So this costs at most K + 1
passes over the labelled examples.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from onefold.distributed import from_first_rank
from onefold.fold.soft.gates import Gates
from onefold.progress import track


@torch.no_grad()
def prune_gates(
    gate: Gates, losses: Callable[[], Tensor], weight: float, suspects: Collection[int] = ()
) -> list[int]:
    """Shut out members in `gate.alive`, in place, and return them.

    Args:
        gate: the gates.
        losses: the loss of every row (n,) of the gated network with the gates as they are, in nats
            or in that of a guess.
        weight: lambda, in the same.
        suspects: members that must show that they are needed.
    """
    size = float(gate.alive.sum())

    def cost() -> float:
        return weight * float((gate(False) != 0).sum()) / size

    # Every member is compared with the start, so that small rises cannot add up.
    start, paid, out = losses(), cost(), []
    for k in track(gate(False).mean(0).argsort().tolist(), "Members that are worth their gates"):
        values = gate(False)
        others = gate.alive.clone()
        others[:, k] = False
        if not bool((values[:, k] != 0).any()) or not bool(others.any(1).all()):
            continue  # shut already, or some part is left to this member alone
        before = gate.alive.clone()
        gate.alive.copy_(others)
        rise = (losses() - start).double()
        allowed = paid - cost()
        if k in suspects:
            allowed = max(allowed, 2 * float(rise.std()) / len(rise) ** 0.5)
        if from_first_rank(float(rise.mean()) <= allowed):
            out.append(k)
        else:
            gate.alive.copy_(before)
    return out
