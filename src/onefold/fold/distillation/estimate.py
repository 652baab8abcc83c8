"""How long a distillation will take, from one step that is timed before it.

    seconds = asked (b t_q + t_r) + passes b t_s

b batches a pass; t_q the ensemble on a batch, t_r reading the members on disk once, t_s a step of
the student. The ensemble is asked once if the batches stay the same, else in every pass.
"""

from __future__ import annotations

import time

import torch
from torch import nn

from onefold.fold.distillation.aims import Lessons, finished

LONG = 5.0  # seconds from which on the estimate is shown


def estimated_seconds(student: nn.Module, lessons: Lessons, passes: int, count: int) -> float:
    """The time that a distillation will take.

    Weights and statistics stay as they are. Before the step that is timed another one runs, as the
    first is slower.

    Args:
        student: in eval mode.
        lessons: the batches.
        passes: over the data.
        count: of batches in a pass.
    """
    batch = lessons.first()
    trained = [p for p in student.parameters() if p.requires_grad]
    aim, asked, reading = lessons.timed(batch)
    taught = 0.0
    for _ in range(2):
        start = time.perf_counter()
        loss = lessons.loss(student, batch, aim)
        finished(torch.autograd.grad(loss, trained, allow_unused=True)[0])
        taught = time.perf_counter() - start
    return (1 if lessons.repeated else passes) * (count * asked + reading) + passes * count * taught


def told(seconds: float) -> str:
    """The estimate as the end of a title; "" if it is short."""
    if seconds < LONG:
        return ""
    return f", about {seconds:.0f} s" if seconds < 120 else f", about {seconds / 60:.0f} min"
