"""What a network puts out on labelled examples, as rows of the task."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from onefold.errors import MembersError
from onefold.fold.soft.examples import Examples
from onefold.inference import run
from onefold.inference.running import eval_mode
from onefold.tasks import Rows, Scores, Scoring, Targets, Task
from onefold.tasks.base import joined
from onefold.tasks.reading import Reading, tempered
from onefold.tasks.scoring import ScoredTally

SIZE = 256  # examples of one pass


@dataclass(frozen=True, eq=False)
class Answered:
    """One network on all examples, batch by batch.

    Attributes:
        values: (r, D), the rows that have labels, in its dtype and on its device.
        targets: (r,) or (r, D), beside them.
        parts: the rows of each batch.
        shapes: of each batch's values (N, ..., D).
        labels: each batch's targets, for any network.
        scores: of the network; None if none were asked for.
    """

    values: Tensor
    targets: Tensor
    parts: list[Rows]
    shapes: list[torch.Size]
    labels: list[Targets]
    scores: Scores | None


@torch.no_grad()
def answer(
    network: nn.Module,
    examples: Examples,
    reading: Reading,
    *,
    like: Answered | None = None,
    scored: bool = False,
    name: str = "A network",
) -> Answered:
    """One network on all examples, in eval mode and in its own dtype.

    Args:
        network: is run.
        examples: labelled ones.
        reading: of outputs.
        like: another network on the same examples, whose outputs have the same shapes.
        scored: take scores, too.
        name: of the network in messages.

    Raises:
        DataError: the network cannot run, or its outputs do not fit the labels.
        MembersError: its outputs are of another shape than those of `like`.
    """
    parts: list[Rows] = []
    shapes: list[torch.Size] = []
    labels: list[Targets] = []
    tally: ScoredTally | None = None
    with eval_mode([network]):
        for number, batch in enumerate(examples.batches(SIZE)):
            outputs = run(network, batch, reading.output)
            values = reading.values(outputs, batch)
            if like is not None:
                check_like(values.shape, like.shapes[number], name)
            targets = reading.targets(values, batch) if like is None else like.labels[number]
            rows = targets.rows(values)
            if scored:
                tally = tally or reading.scoring.tally(reading.told)
                tally.measure(reading.reader, values, outputs, batch)
            parts.append(rows)
            shapes.append(values.shape)
            labels.append(targets)
    if tally is not None:
        for rows in joined(parts):
            tally.count(wide(rows, reading.told))
    return Answered(
        torch.cat([rows.values for rows in parts]),
        torch.cat([rows.targets for rows in parts]),
        parts,
        shapes,
        labels,
        tally.scores() if tally else None,
    )


def check_like(shape: torch.Size, first: torch.Size, name: str) -> None:
    """Refuse values of another shape than member 0's.

    Raises:
        MembersError: as said.
    """
    if shape == first:
        return
    found = f"{shape[-1]} numbers per example, but member 0 {first[-1]}"
    if shape[-1] == first[-1]:
        found = f"outputs {tuple(shape)}, but member 0 {tuple(first)}"
    raise MembersError(f"{name} returns {found}; only networks of one task can be merged.")


def wide(rows: Rows, task: Task) -> Rows:
    """The rows in float64 on the CPU, if the task is scored so."""
    return replace(rows, values=rows.values.cpu().double()) if task.wide else rows


def at_best_temperature(found: Answered, scores: Scores, reading: Reading) -> Scores:
    """The scores at the temperature of least loss, without metrics.

    They are `scores`, taken without one, if outputs are not finite or have no temperature.
    """
    task = reading.told
    if not tempered(task) or not bool(found.values.isfinite().all()):
        return scores
    sizes = [len(rows.values) for rows in found.parts]
    scaled = task.calibrated(found.values, found.targets).split(sizes)  # type: ignore[no-untyped-call]
    tally = task.tally(reading.scoring.bins)
    again = (replace(rows, values=own) for own, rows in zip(scaled, found.parts, strict=True))
    for rows in joined(again):
        tally.add(wide(rows, task))
    plain = Scoring(task, bins=reading.scoring.bins)
    counted = tally.counted(task.scores[0].name)
    return Scores(
        counted.values,
        counted.n,
        kinds=plain.kinds(task),
        task=task.name,
        by=task.scores[0].name,
        loss_name=task.loss,
        bins=plain.bins.bins,
        binning=plain.bins.binning,
        nonfinite=counted.nonfinite,
        answers=counted.answers,
    )


def best_loss(values: Tensor, targets: Tensor, task: Task) -> float:
    """The mean loss of rows at their best temperature, if they have one."""
    return float(task.losses(task.calibrated(values, targets), targets).mean())


__all__ = ["Answered", "answer", "at_best_temperature", "best_loss"]
