"""The rule by which several networks are told apart: what a merge of them can bring.

`onefold.merge` without a named fold and `onefold.compare_networks` both follow it, and say the same
words. It reads weights and the predictions on unlabelled examples (`origin.py`, `knowledge.py`),
and goes down this list:

1. They share an origin: their plain average is no farther from their ensemble than they are. Then
   it is a network of their kind, and is usually better than they are: average without alignment.
2. Their outputs are no scores of classes of which one is right, as numbers, or yes and no for one
   label or several. Then nothing more can be told; the member that is nearest to their mean is the
   safe one. Shares of yes are figures here and no evidence: networks that saw other cases, of which
   a fold gained much, may say yes as often, and networks of the same cases in other shares, of
   which it gained nothing, say it more or less often (benchmarks/default/yes_or_no.py).
3. Two of them are told apart by the shares of classes that they predict
   (`ensemble/told_apart.py`). Then they know different classes, and a fold pays: least squares
   towards the class pool, or the best member shifted to even classes where that does as well. If
   more than half of the members are not told apart from one another, the rest are odd ones: whether
   they know other classes or nothing cannot be told, and the rule goes on with 4.
4. Else they know the same. No fold to one network's width was above the best member beyond noise on
   groups of this kind that were trained out, and several were far below: the member that agrees
   most with the ensemble, unchanged.

It cannot tell members that saw other examples of the same classes (other sites, folds of a
cross-validation) from members that saw the same examples: they disagree more, but the shares of
classes that they predict are alike. Labelled examples can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from onefold.batches import Data, batches
from onefold.comparison.knowledge import Knowledge, knowledge_of, off_ensemble
from onefold.comparison.origin import NEAR, Origin, average_network, likeness
from onefold.comparison.predictions import read_predictions
from onefold.ensemble.class_shares import pool_of
from onefold.ensemble.pool import ClassPool
from onefold.ensemble.told_apart import told_apart
from onefold.errors import DataError
from onefold.inference import Output
from onefold.tasks.base import Task


class Relation(str, Enum):
    """How networks relate; the value is the name in JSON."""

    ORIGIN = "one origin"
    DIFFERENT = "different knowledge"
    SAME = "the same knowledge"
    UNTOLD = "no classes"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured of K networks, and what follows from it.

    Attributes:
        members: K.
        origin: whether they went on from one.
        knowledge: what their predictions tell.
        pool: the class pool that is estimated from them; None if they are not told apart.
        names: of the networks in sentences; () for "member 0" and so on.
    """

    members: int
    origin: Origin
    knowledge: Knowledge
    pool: ClassPool | None = None
    names: tuple[str, ...] = ()

    @property
    def told_apart(self) -> Tensor:
        """Whether two members know different classes, (K, K) bool."""
        seen = self.knowledge
        if seen.shares is None or seen.agreement is None:
            return torch.zeros(self.members, self.members, dtype=torch.bool, device="cpu")
        return told_apart(seen.shares, seen.agreement)

    @property
    def odd(self) -> tuple[int, ...]:
        """Members that are told apart from a majority that is not told apart within itself."""
        level = ~self.told_apart
        most = max(range(self.members), key=lambda k: int(level[k].sum()))
        group = [k for k in range(self.members) if bool(level[most, k])]
        mutual = bool(level[group][:, group].all())
        if not mutual or 2 * len(group) <= self.members:
            return ()
        return tuple(k for k in range(self.members) if k not in group)

    @property
    def different(self) -> bool:
        """Whether some members know different classes, as far as can be told; odd ones count."""
        return bool(self.told_apart.any())

    @property
    def relation(self) -> Relation:
        """How the networks relate, by the rule of this module."""
        if self.origin.shared:
            return Relation.ORIGIN
        if self.knowledge.apart is None:
            return Relation.UNTOLD
        return Relation.DIFFERENT if self.different and not self.odd else Relation.SAME

    @property
    def sentence(self) -> str:
        """How the networks relate, with the figures, and what pays; without a full stop."""
        return f"{self.finding}: {ADVICE[self.relation]}"

    @property
    def finding(self) -> str:
        """How the networks relate, with the figures that tell it."""
        seen, origin, apart = self.knowledge, self.origin, self.knowledge.apart
        on = f"on {seen.examples} unlabelled examples"
        if self.relation is Relation.ORIGIN:
            return (
                "these networks share an origin (likeness of weights"
                f" {origin.likeness:.2f}; {on} their plain average is {origin.average_off:.3f}"
                f" {seen.unit} from their ensemble, and they are {origin.members_off:.3f} on"
                " average)"
            )
        if apart is None or seen.agreement is None:
            return self._untold(on)
        agree = 100 * mean_of_pairs(seen)
        figures = (
            f"{on} the shares of classes that they predict differ by up to {100 * apart:.1f} %, and"
            f" two of them agree on {agree:.1f} % on average"
        )
        if self.relation is Relation.DIFFERENT:
            return f"these networks know different classes ({figures})"
        if self.odd:
            names = " and ".join(self.names[k] if self.names else f"member {k}" for k in self.odd)
            return (
                f"most of these networks know the same classes, and {names} may know other classes"
                f" or nothing ({figures})"
            )
        return f"these networks know the same classes ({figures})"

    def _untold(self, on: str) -> str:
        """The finding of networks whose outputs are no classes, with the figures that there are."""
        seen, yes = self.knowledge, self.knowledge.apart_in_yes
        alike = f"likeness of weights {self.origin.likeness:.2f}"
        if yes is None:
            return (
                "the outputs of these networks are no scores of classes, and they share no origin"
                f" ({alike})"
            )
        several = seen.yes is not None and seen.yes.shape[1] > 1
        figures = f"{on} their shares of yes differ by up to {100 * yes:.1f} %"
        figures += " on a label" * several
        if seen.agreement is not None:
            figures += f", and two of them agree on {100 * mean_of_pairs(seen):.1f} % on average"
        return (
            "these networks answer yes or no, which does not tell whether they know the same, and"
            f" they share no origin ({alike}; {figures})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "relation": self.relation.value,
            "sentence": self.sentence,
            "origin": self.origin.to_dict(),
            "knowledge": self.knowledge.to_dict(),
            "classes": None if self.pool is None else self.pool.to_dict(),
        }


ADVICE = {
    Relation.ORIGIN: "average them without alignment",
    Relation.DIFFERENT: "a fold can pay; fold them with least squares towards the class pool",
    Relation.SAME: (
        "a fold to one network's width does not pay, and may lose much; keep one of them, or the"
        " ensemble, or distill it (polish). If they saw other examples of these classes, a fold may"
        " pay, which only labelled examples tell"
    ),
    Relation.UNTOLD: (
        "what they know cannot be told; keep the one that is nearest to their mean, or the ensemble"
    ),
}


def gather(
    models: Sequence[nn.Module],
    data: Data,
    output: Output,
    *,
    labelled: Data | None = None,
    task: Task | None = None,
) -> Evidence:
    """Measure K >= 2 networks of one architecture: one pass over at most 5,000 examples.

    Networks whose weights are alike cost a pass of their average more, and another for its batch
    norms.

    Args:
        models: the networks, whose weights are finite.
        data: batches; labels are read for their shape, and to tell a task that is not named.
        output: which output is meant.
        labelled: batches whose labels come in the shares of the classes in the data; None: the
            classes are taken to be even.
        task: of the networks; None: as labels tell, else classes where shapes tell their axis, else
            numbers.

    Raises:
        DataError: the data is empty, a network cannot run on it, or puts out what is not finite.
        MembersError: the networks' outputs differ in shape.
    """
    count, like = len(models), likeness(models)
    average = [average_network(models, data)] if like >= NEAR else []
    found = read_predictions(models, data, output, average, task)
    if False in found.finite[:count]:
        raise DataError(
            f"Member {found.finite.index(False)} puts out something that is not finite on the data;"
            " check its weights and the data's scale, or leave it out."
        )
    known = knowledge_of(found, count)
    origin = Origin(like)
    if average and found.finite[count]:
        origin = Origin(like, off_ensemble(found, count, count), float(known.off.mean()))
    evidence = Evidence(count, origin, known)
    if not evidence.different:
        return evidence
    rows = [own.double() for own in found.rows[:count]]
    shares = None if labelled is None else label_shares(labelled, rows[0].shape[-1])
    return replace(evidence, pool=pool_of(rows, shares))


def label_shares(labelled: Data, classes: int) -> Tensor:
    """(C,) the shares of the classes among labels, each counted once more than it occurs.

    They are even if chance explains how uneven the labels are: if chi-square is below its mean plus
    three standard deviations, C - 1 + 3 sqrt(2 C - 2). Labels that are no class (as -100) do not
    count.
    """
    counts = torch.ones(classes, dtype=torch.float64, device="cpu")
    for batch in batches(labelled, what="labelled data"):
        if isinstance(batch.labels, Tensor) and not batch.labels.is_floating_point():
            own = batch.labels.flatten().cpu().long()
            own = own[(own >= 0) & (own < classes)]
            counts += torch.bincount(own, minlength=classes)
    even = (counts.sum() - classes) / classes
    uneven = float((counts - 1 - even).square().sum() / even.clamp_min(1.0))
    if uneven <= classes - 1 + 3 * (2 * classes - 2) ** 0.5:
        return torch.full_like(counts, 1 / classes)
    return counts / counts.sum()


def mean_of_pairs(known: Knowledge) -> float:
    """The mean share of rows on which two members agree; NaN if there are no answers."""
    if known.agreement is None:
        return float("nan")
    count = len(known.agreement)
    others = ~torch.eye(count, dtype=torch.bool, device="cpu")
    return float(known.agreement[others].mean())
