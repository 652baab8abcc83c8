"""Whether models stem from the base that a document names: the lengths of their task vectors.

A fine-tune lies a few hundredths of its base's length away from it; a network that was trained
apart lies 1.4 lengths away. The lengths are told from a sample, before anything is merged: from the
middle of at most `TENSORS` tensors, which is a few MB.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onefold.checkpoints.comparison.entries import Entry
from onefold.checkpoints.comparison.thresholds import UNRELATED
from onefold.checkpoints.layouts import Held
from onefold.checkpoints.layouts.dtypes import CODES
from onefold.checkpoints.plan.jobs import Job

if TYPE_CHECKING:
    from onefold.checkpoints.comparison.groups import Measured
    from onefold.checkpoints.engine.inputs import Inputs

TENSORS = 128  # that are looked at for each model
SHOWN = 8  # models in one sentence


class UnrelatedBase(UserWarning):
    """A model does not stem from the base that it is merged with, or is that base."""


@dataclass(frozen=True)
class Origins:
    """What the task vectors of the models say of their base.

    Attributes:
        lengths: model -> the length of its task vector over that of its base's weights.
        warned: one sentence for each model that does not stem from its base, or equals it.
    """

    lengths: Mapping[str, float] = field(default_factory=dict)
    warned: tuple[str, ...] = ()

    def notes(self) -> tuple[str, ...]:
        """The warnings, and the lengths that give no cause for one."""
        sound = {model: x for model, x in self.lengths.items() if 0 < x < UNRELATED}
        if not sound:
            return self.warned
        told = ", ".join(f"{x:.3f} of {model}" for model, x in list(sound.items())[:SHOWN])
        more = f", and {len(sound) - SHOWN} more" if len(sound) > SHOWN else ""
        return (*self.warned, f"Lengths of task vectors over that of the base: {told}{more}.")


def origins_of(jobs: Sequence[Job], absent: Collection[Path] = ()) -> Origins:
    """The lengths of the task vectors of all models that are merged with a base.

    Args:
        jobs: the tensors of the plan.
        absent: files that are not there yet; what they will hold is not looked at.

    Raises:
        WeightsError: a file cannot be read.
    """
    pairs: dict[tuple[str, str], list[tuple[str, Held, Held]]] = {}
    partial: set[tuple[str, str]] = set()
    for job in jobs:
        for source in job.sources:
            origin, own = job.base, source.held
            if origin is None or origin.file in absent or own.file in absent:
                continue
            pair = (source.model, job.decider)
            moved = job.rows is not None or origin.shape != own.shape
            if moved or origin.scaled is not None or own.scaled is not None:
                partial.add(pair)  # numbers that do not stand for one another as they are stored
            else:
                pairs.setdefault(pair, []).append((job.name, origin, own))
    lengths: dict[str, float] = {}
    warned = []
    for (model, base), tensors in pairs.items():
        whole = (model, base) not in partial
        length = _length(tensors, whole)
        if length is None:
            continue
        lengths[model] = max(length, lengths.get(model, 0.0))
        if length >= UNRELATED:
            warned.append(
                f"The task vector of {model} is {length:.2f} times as long as the weights of"
                f" {base}; {model} does not stem from this base."
            )
        elif length == 0 and whole and _equal(tensors):
            warned.append(
                f"{model} equals its base {base} wherever it was looked at, in {len(tensors)}"
                " tensors; leave it out, as it adds nothing."
            )
    return Origins(lengths, tuple(warned))


def _length(tensors: Sequence[tuple[str, Held, Held]], whole: bool) -> float | None:
    """The length of a task vector over that of the base, of matrices if there are any.

    Args:
        tensors: those that can be measured.
        whole: they are all tensors; else those without matrices say nothing.
    """
    from onefold.checkpoints.comparison.groups import relative_of

    matrices = [one for one in tensors if len(one[1].shape) > 1]
    matrices = matrices or (list(tensors) if whole else [])
    if not matrices:
        return None
    step = -(-len(matrices) // TENSORS)
    return relative_of(_measured(matrices[::step]), 1)


def _equal(tensors: Sequence[tuple[str, Held, Held]]) -> bool:
    """Whether two models are equal in the middle of every tensor."""
    return not any(one.sums.different[1] for one in _measured(tensors))


def _measured(tensors: Sequence[tuple[str, Held, Held]]) -> list[Measured]:
    """What the comparison of checkpoints measures of the middle of tensors."""
    from onefold.checkpoints.comparison.groups import Measured
    from onefold.checkpoints.comparison.measures import measure
    from onefold.checkpoints.comparison.passes import LOOKED_AT
    from onefold.checkpoints.comparison.values import FLOATS

    read, found = _Entries(), []
    for name, base, own in tensors:
        entries = [read.entry(held) for held in (base, own)]
        begin = max(0, (base.numel - LOOKED_AT) // 2)
        sums = measure(read.files, entries, begin, min(base.numel, begin + LOOKED_AT))
        floating = tuple(entry.dtype in FLOATS for entry in entries)
        found.append(Measured(name, len(base.shape), (0, 1), sums, floating))
    return found


class _Entries:
    """Tensors as the comparison of checkpoints reads them."""

    def __init__(self) -> None:
        from onefold.checkpoints.comparison.values import Files

        self.files = Files()
        self.inputs: Inputs | None = None  # of torch files, for which torch is needed

    def entry(self, held: Held) -> Entry:
        """One tensor."""
        if held.begin is not None:
            self.files.open(held.file)
            return Entry(held.file, CODES[held.dtype], held.shape, held.begin)
        if self.inputs is None:
            from onefold.checkpoints.engine.inputs import Inputs

            self.inputs = Inputs()
        return Entry(held.file, CODES[held.dtype], held.shape, 0, self.inputs.tensor(held))
