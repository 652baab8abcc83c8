"""The next token of every series: loss and perplexity.

    perplexity = exp(mean_t -log p(x_t | x_<t))

over all tokens t of all texts that have a label. Logits at position t - 1 foretell the label at t,
so that outputs and labels are shifted here, as networks of transformers do for their own loss.
Labels below 0 do not count, nor do positions whose entry in the input `attention_mask` is 0.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from onefold.batches import Batch
from onefold.errors import DataError
from onefold.inference import Output
from onefold.inference.outputs import broken_rows
from onefold.tasks.answers import Answers, Fingerprint, contributions, per_example
from onefold.tasks.base import Bins, Counted, Reader, Rows, Tally, Targets, tasks
from onefold.tasks.chance import InputFacts
from onefold.tasks.class_reading import ClassReader
from onefold.tasks.class_tally import check_count
from onefold.tasks.classification import OfClasses
from onefold.tasks.labels import class_targets, labels_in
from onefold.tasks.score import ACCURACY, NLL, Score

PERPLEXITY = Score("perplexity", "perplexity", highest=False, digits=3)
MASK = "attention_mask"  # the input that says which tokens are no padding
NO_LABEL = -100


@tasks.register("language_modeling")
class LanguageModeling(OfClasses):
    """The next token of each text; the labels are the tokens themselves."""

    name: ClassVar[str] = "language_modeling"
    scores: ClassVar[tuple[Score, ...]] = (PERPLEXITY, NLL, ACCURACY)
    axis: ClassVar[int | None] = -1
    wide: ClassVar[bool] = False

    def reader(self, output: Output, todo: str) -> Reader:
        """A reader that shifts outputs and labels by one token."""
        return NextToken(output, todo, self.axis)

    def tally(self, bins: Bins) -> Tally:
        """An empty tally by text."""
        return TokenTally()


class NextToken(ClassReader):
    """Reads logits (N, T, V) with labels (N, T), each label beside the logits before it."""

    def judged(self, told: Tensor, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities (N, T - 1, V), and the tokens (N, T - 1) that follow; -100 for none."""
        return told[:, :-1], following(batch, told)[:, :-1]

    def targets(self, values: Tensor, batch: Batch) -> Targets:
        """The tokens that follow; the last position foretells none."""
        found = class_targets(following(batch, values), values.shape[:-1], values.shape[-1])
        left = int((labels_in(batch)[:, 1:] < 0).sum())
        return Targets(found.values, found.kept, found.owners, found.examples, left)


def following(batch: Batch, values: Tensor) -> Tensor:
    """The token (N, T) after each of values (N, T, V); -100 where none counts.

    Raises:
        DataError: the labels are not the tokens of these values.
    """
    labels = labels_in(batch)
    if labels.dim() != 2 or labels.shape != values.shape[:-1]:
        raise DataError(
            f"The labels have shape {tuple(labels.shape)} but the logits {tuple(values.shape)};"
            " language modeling needs logits (N, T, V) and the tokens (N, T) as labels."
        )
    found = torch.full_like(labels, NO_LABEL, dtype=torch.long)
    found[:, :-1] = labels[:, 1:]
    found[found < 0] = NO_LABEL
    mask = batch.kwargs.get(MASK)
    if isinstance(mask, Tensor) and mask.shape == labels.shape:
        found[:, :-1][mask[:, 1:].to(labels.device) == 0] = NO_LABEL
    return found


class TokenTally(Tally):
    """Adds up the losses of tokens; three numbers are kept for every text."""

    def __init__(self) -> None:
        self._numbers: list[Tensor] = []
        self._fingerprint = Fingerprint()
        self._ignored = 0

    def add(self, rows: Rows) -> None:
        """Add rows of logits (r, V) with tokens (r,). A row without a softmax has infinite loss."""
        self._ignored += rows.ignored
        logits = rows.values.float()
        targets = rows.targets.to(logits.device)
        broken = broken_rows(logits)
        losses = -logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        losses = losses.masked_fill(broken, torch.inf)
        hits = (logits.argmax(-1) == targets) & ~broken
        own = torch.stack([losses, hits.float(), torch.ones_like(losses)], 1).cpu().double()
        found = per_example(own, rows.owners, rows.count)
        self._numbers.append(found[found[:, 2] > 0])
        self._fingerprint.add(rows.targets)

    def counted(self, by: str, facts: InputFacts | None = None) -> Counted:
        """The scores of all that was added, paired by text."""
        check_count(sum(map(len, self._numbers)), self._ignored)
        numbers = torch.cat(self._numbers)
        loss, hits, count = numbers.sum(0).tolist()
        nll = loss / count
        values = {
            "perplexity": math.exp(nll) if nll < 700 else math.inf,
            "nll": nll,
            "accuracy": hits / count,
        }
        functions = {
            "perplexity": lambda mean: (mean[0] / mean[2]).exp(),
            "nll": lambda mean: mean[0] / mean[2],
            "accuracy": lambda mean: mean[1] / mean[2],
        }
        own = torch.full((len(numbers),), torch.nan, dtype=torch.float64)
        if by in functions:
            own = contributions(numbers, functions[by])[1]
        losses = (numbers[:, 0] / numbers[:, 2]).float()
        broken = int((~losses.isfinite()).sum())
        return Counted(values, len(numbers), Answers(own, losses, str(self._fingerprint)), broken)


__all__ = ["LanguageModeling"]
