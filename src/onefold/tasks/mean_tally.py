"""A tally of scores that are means over rows, for tasks of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from onefold.tasks.answers import Answers, Fingerprint, contributions, per_example
from onefold.tasks.base import Counted, Rows, Tally
from onefold.tasks.chance import InputFacts
from onefold.tasks.class_tally import check_count


class MeanTally(Tally):
    """Adds up scores that are means of a number of each row.

    Rows whose values are not finite count as infinite, or as `worst` says.

    Args:
        functions: name of a score -> function of values (r, D) float64 and targets, on the CPU, to
            the numbers (r,) of the rows.
        loss: the name of the one that is the task's loss.
        worst: name of a score -> what a row counts whose values are not finite.
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
        loss: str,
        worst: Mapping[str, float] | None = None,
    ) -> None:
        self._functions, self._loss, self._worst = dict(functions), loss, dict(worst or {})
        self._numbers: list[Tensor] = []
        self._fingerprint = Fingerprint()
        self._ignored = self._broken = 0

    def add(self, rows: Rows) -> None:
        """Add the rows of one batch."""
        self._ignored += rows.ignored
        values, targets = rows.values.cpu().double(), rows.targets.cpu()
        broken = ~values.isfinite().all(-1)
        columns = [
            function(values, targets).double().masked_fill(broken, self._worst.get(name, torch.inf))
            for name, function in self._functions.items()
        ]
        numbers = torch.stack([*columns, torch.ones(len(values), dtype=torch.float64)], 1)
        found = per_example(numbers, rows.owners, rows.count)
        wrong = per_example(broken.double(), rows.owners, rows.count)[found[:, -1] > 0]
        self._numbers.append(found[found[:, -1] > 0])
        self._broken += int((wrong > 0).sum())
        self._fingerprint.add(targets.nan_to_num(0.0) if targets.is_floating_point() else targets)

    def counted(self, by: str, facts: InputFacts | None = None) -> Counted:
        """The scores of all that was added, paired by example."""
        check_count(sum(map(len, self._numbers)), self._ignored)
        numbers = torch.cat(self._numbers)
        names = list(self._functions)
        mean = numbers.mean(0)
        values = {name: float(mean[k] / mean[-1]) for k, name in enumerate(names)}
        own = torch.full((len(numbers),), torch.nan, dtype=torch.float64)
        if by in names:
            column = names.index(by)
            own = contributions(numbers, lambda found: found[column] / found[-1])[1]
        losses = (numbers[:, names.index(self._loss)] / numbers[:, -1]).float()
        answers = Answers(own, losses, str(self._fingerprint))
        return Counted(values, len(numbers), answers, self._broken)


__all__ = ["MeanTally"]
