"""Which mean of classifiers answers more evenly: that of their logits or of their probabilities.

Both err in their own way where members know different classes. The mean of logits follows the
member of the largest logits, which says its own classes too often. The mean of probabilities is
split between members that are all sure of a class that they alone know. Either shows in the answers
on unlabelled examples: some classes are said far too often. With q_c the share of the examples that
an ensemble answers by class c,

    u = sum_c |q_c - 1 / C| / 2,

and the mean of probabilities is taken where its u is lower than that of logits by more than MARGIN,
unless members share no class (DISJOINT). On members that saw the same data the two differ by less,
and the mean of logits is the simpler one: least squares fits it without a loss. The examples need
not be even for that: uneven ones raise both u. The figures that the rule was chosen by:
`benchmarks/folding/aims.py`.

Probabilities are for classifiers. Members are taken for classifiers if the examples have one class
as a label each, or the class axis is said. Without either it follows from the outputs: softmax is
blind to what is added to all classes, so that training leaves the mean of a classifier's logits
nearly still. For independent outputs the ratio

    r = C var_x(mean_c z_c) / mean_c var_x(z_c)

is 1. It was below 0.9 for 275 of 279 small classifiers, and at least 1.09 for regressors of
unrelated targets. Members that miss it keep the mean of their outputs, which is right for either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from onefold.batches import Data, batches
from onefold.ensemble.told_apart import agreements, told_apart, variations
from onefold.errors import DataError, Note
from onefold.inference import Output
from onefold.inference.running import eval_mode, outputs_of

# Of u. Up to 0.008 on members of the same data and 0.019 on halves of the classes, where the fold
# loses a little by probabilities; 0.07 to 0.14 on Dirichlet shares, where it gains 8 to 11 points.
MARGIN = 0.03
# The variation of members that share no class. Each is sure of what it never saw, so that the mean
# of probabilities is split in two, and no linear layer follows its logarithm: the fold lost 3 to 20
# points by it where the ensemble gained.
DISJOINT = 0.9
STILL = 0.9  # r of a classifier, at most
PER_CLASS = 10  # examples of a class, at least: fewer say nothing of shares
MOST = 2000  # examples that are read


@dataclass(frozen=True)
class MeanChoice:
    """The mean that was chosen, and what it was chosen by.

    Attributes:
        name: "logits", or "probabilities".
        classifiers: whether the members were taken for classifiers.
        examples: how many examples were read; 0 if nothing was to be chosen.
        uneven: u of both, by name.
        variation: the largest total variation of two members' mean probabilities.
        different: whether two members are told apart (`told_apart.py`).
    """

    name: Literal["logits", "probabilities"]
    classifiers: bool = False
    examples: int = 0
    uneven: tuple[float, float] = (0.0, 0.0)
    variation: float = 0.0
    different: bool = False

    @property
    def notes(self) -> list[str]:
        """What was chosen if it is not the mean of logits, and what might be better."""
        found: list[str] = []
        if self.name == "probabilities":
            logits, probabilities = self.uneven
            found.append(
                Note(
                    "the output aims at the mean of the members' probabilities, whose answers on"
                    f" {self.examples} examples are nearer to even classes than those of the mean"
                    f" of logits ({100 * probabilities:.1f} and {100 * logits:.1f} % away)"
                )
            )
        if self.different:
            found.append(
                Note(
                    f"the members' mean probabilities differ by {100 * self.variation:.0f} %: if"
                    " the classes of the data are about even, ensemble='classes' is the better aim"
                )
            )
        return found


LOGITS = MeanChoice("logits")


def choose_mean(
    models: Sequence[nn.Module], data: Data, output: Output, shares: Sequence[float]
) -> MeanChoice:
    """Choose between the means of logits and of probabilities on at most MOST examples.

    The mean of logits is chosen where the members are not known to be classifiers with one class
    for each example.

    Args:
        models: the members.
        data: batches; labels only tell whether there are classes.
        output: which output is meant.
        shares: the members' weights, which sum to 1.

    Raises:
        DataError: the data is empty.
    """
    items = _first(data)
    labelled = _labels(items)
    if labelled is False:
        return LOGITS
    logits: list[list[Tensor]] = []
    read = 0
    try:
        with eval_mode(models):
            for values, batch in outputs_of(models, items, "Choosing the aim", output):
                if any(z.dim() != 2 or not z.is_floating_point() for z in values):
                    return LOGITS
                if output.class_axis not in (None, 1, -1):
                    return LOGITS
                logits.append([z.double().cpu() for z in values])
                read += batch.size
    except DataError:  # nothing says which output is meant; what uses it says more
        return LOGITS
    members = [torch.cat([z[k] for z in logits]) for k in range(len(models))]
    count, classes = members[0].shape
    if classes < 2 or count < PER_CLASS * classes:
        return LOGITS
    if not all(bool(torch.isfinite(z).all()) for z in members):
        return LOGITS
    known = labelled is True or output.class_axis is not None
    if not known and (classes < 3 or any(_stillness(z) > STILL for z in members)):
        return LOGITS
    return _chosen(members, shares, count)


def _chosen(members: Sequence[Tensor], shares: Sequence[float], count: int) -> MeanChoice:
    """The choice from the members' logits (n, C)."""
    probabilities = [z.softmax(1) for z in members]
    means = [
        sum(share * z for share, z in zip(shares, of, strict=True))
        for of in (members, probabilities)
    ]
    uneven = [_uneven(mean) for mean in means if isinstance(mean, Tensor)]
    own = torch.stack([p.mean(0) for p in probabilities])
    variation = float(variations(own).max())
    answers = torch.stack([z.argmax(1) for z in members])
    different = bool(told_apart(own, agreements(answers)).any())
    name = evener((uneven[0], uneven[1]), variation)
    return MeanChoice(name, True, count, (uneven[0], uneven[1]), variation, different)


def evener(uneven: Sequence[float], variation: float) -> Literal["logits", "probabilities"]:
    """The rule: "probabilities" if they answer clearly more evenly and members share classes.

    Args:
        uneven: u of logits and of probabilities.
        variation: the largest total variation of two members' mean probabilities.
    """
    logits, probabilities = uneven
    if probabilities < logits - MARGIN and variation < DISJOINT:
        return "probabilities"
    return "logits"


def _uneven(scores: Tensor) -> float:
    """U of the answers by scores (n, C)."""
    classes = scores.shape[1]
    answered = torch.bincount(scores.argmax(1), minlength=classes).double() / len(scores)
    return float((answered - 1 / classes).abs().sum() / 2)


def _stillness(logits: Tensor) -> float:
    """R of outputs (n, C); infinite if they do not vary."""
    spread = float(logits.var(0).mean())
    return len(logits[0]) * float(logits.mean(1).var()) / spread if spread > 0 else float("inf")


def _first(data: Data) -> list[Any]:
    """The first batches, of at least MOST examples together if there are so many."""
    found: list[Any] = []
    seen = 0
    for item in data:
        found.append(item)
        seen += next(batches([item])).size
        if seen >= MOST:
            break
    return found


def _labels(items: Sequence[Any]) -> bool | None:
    """Whether each example has one class as its label; None without labels."""
    first = next(batches(items))
    if first.unusable:
        return False
    if first.labels is None:
        return None
    return first.labels.dim() == 1 and not first.labels.is_floating_point()


__all__ = ["MeanChoice", "choose_mean"]
