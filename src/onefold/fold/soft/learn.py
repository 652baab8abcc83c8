"""Learning of gates: the training loop, and the removal of members that cost too much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from onefold.batches import Batch, dtype_of
from onefold.distributed import mean_over_ranks
from onefold.fold.soft.examples import Examples
from onefold.fold.soft.mixture import weighted_outputs
from onefold.fold.soft.prune_gates import prune_gates
from onefold.fold.soft.soft_merge import SoftMerge
from onefold.forward import forward
from onefold.progress import bar
from onefold.tasks import Rows
from onefold.tasks.reading import mean_loss

NOISELESS = 1 / 3  # the last part of the steps is without noise, but at model level


def train(
    soft: SoftMerge, examples: Examples, steps: int, lr: float, penalty: float, size: int, seed: int
) -> list[float]:
    """Train the gates of `soft` in place, and return the loss of every step.

    Losses are in nats, or in those of a guess (screening.py). A step whose loss is not finite
    changes nothing.
    """
    task, unit = soft.reading.told, soft.guess.unit
    generator = torch.Generator().manual_seed(seed)
    gate = soft.gate
    optimizer = torch.optim.Adam(gate.parameters(), lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=lr / 20)
    draw = _cached_batches if soft.level == "model" else _run_batches
    batches = draw(soft, examples, size, generator)
    losses = []
    with _training(soft), bar("Learning gates", steps) as shown:
        for step in range(steps):
            if soft.level != "model" and step >= (1 - NOISELESS) * steps:
                soft.stochastic = False
            loss = mean_loss(task, next(batches))
            loss = (loss if unit == 1 else loss / unit) + penalty * soft.penalty()
            optimizer.zero_grad()
            if bool(loss.isfinite()):
                loss.backward()  # type: ignore[no-untyped-call]
            log_alpha = gate.log_alpha
            gradient = torch.zeros_like(log_alpha) if log_alpha.grad is None else log_alpha.grad
            log_alpha.grad = mean_over_ranks(gradient)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            shown.step(f"loss {losses[-1]:.3f}")
    return losses


def prune(soft: SoftMerge, examples: Examples, penalty: float) -> None:
    """Leave out members that are not worth their gates.

    They are judged on the examples that the gates were learned from.
    """
    task, unit = soft.reading.told, soft.guess.unit
    if soft.level == "model":
        live = soft.survivors
        outputs, targets = soft.outputs_on(examples)

        def losses() -> Tensor:
            values = weighted_outputs(soft.gate(False)[0][live], outputs, soft.outputs)
            return task.losses(values, targets) / unit

    else:

        def losses() -> Tensor:
            with _training(soft):
                soft.stochastic = False
                found = [_run(soft, batch) for batch in examples.batches(256)]
            return torch.cat([task.losses(own.values.float(), own.targets) for own in found]) / unit

    scores = soft.scores or []
    suspects = [k for k in soft.survivors if k < len(scores) and scores[k].loss >= soft.guess.loss]
    for k in prune_gates(soft.gate, losses, penalty, suspects):
        reason = "leaving it out costs no more than its gates do"
        soft.pruned[k] = "nothing shows that it is needed" if k in suspects else reason


def _cached_batches(
    soft: SoftMerge, examples: Examples, size: int, generator: torch.Generator
) -> Iterator[Rows]:
    """Gated rows of random batches with their targets, at model level.

    The members' outputs are computed once.
    """
    live = soft.survivors
    found, targets = soft.outputs_on(examples)
    outputs = torch.stack(found)
    while True:
        rows = torch.randperm(len(targets), generator=generator)[:size].to(targets.device)
        gates = soft.gate(soft.stochastic)[0][live]
        values = weighted_outputs(gates, list(outputs[:, rows]), soft.outputs)
        yield Rows(values, targets[rows])


def _run_batches(
    soft: SoftMerge, examples: Examples, size: int, generator: torch.Generator
) -> Iterator[Rows]:
    """Gated rows of random batches with their targets."""
    while True:
        yield _run(soft, examples.draw(size, generator))


def _run(soft: SoftMerge, batch: Batch) -> Rows:
    """The gated rows on inputs of the members' dtype, which may differ from the gates'."""
    return soft.rows(forward(soft, batch, dtype_of(soft.members[0])), batch, soft)


@contextmanager
def _training(soft: SoftMerge) -> Iterator[None]:
    """Training mode within the block.

    Afterwards the gates are in eval mode, and the setting of noise is as before.
    """
    stochastic = soft.stochastic
    soft.train()
    try:
        yield
    finally:
        soft.eval()
        soft.stochastic = stochastic


__all__ = ["prune", "train"]
