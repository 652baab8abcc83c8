"""Training of a SoftMerge's gates on a few hundred labelled examples, and an honest verdict on it.

    minimise over log_alpha   mean l(soft(x), y) / u + lambda * penalty

by Adam (learning rate 0.1, betas 0.9 and 0.99), cosine to a twentieth. l is the loss of the task
(`onefold.tasks`): for classes the cross-entropy, for numbers the squared error. u is 1 for losses
in nats. For others it is the loss of a guess that knows nothing, so that units do not matter.

At model level the members' outputs are computed once and the gates are trained on them, which takes
about a second. The defaults are those that did well in our own study
(docs/evidence/soft_merging.md). A part of the examples is held out. On it the gated network is
compared with the best member of all labelled examples and with the aligned average (choice.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from onefold.arguments import checked
from onefold.batches import Data, check_reiterable, device_of
from onefold.errors import DataError, Note, SettingError
from onefold.finite import finite
from onefold.fold.soft.candidates import GATED, judge
from onefold.fold.soft.choice import Choice
from onefold.fold.soft.examples import Examples
from onefold.fold.soft.learn import prune, train
from onefold.fold.soft.soft_merge import SoftMerge
from onefold.fold.soft.table import GateTable
from onefold.isolation import isolated
from onefold.notebook import card
from onefold.progress import waiting
from onefold.tasks import AUTO, Scores, Scoring, TaskChoice, as_scoring
from onefold.weights import repeated


@dataclass
class SoftResult:
    """The network to use, and a record of how it was made.

    Attributes:
        model: the network to use, with weights of its own: plain, or a Mixture.
        choice: "gated", "member k" or "aligned average".
        scores: of every candidate on the held-out examples.
        gates: the gates as learned.
        soft: the SoftMerge itself.
        held_out_losses: of every candidate on the held-out examples, at the best temperature if
            outputs of the task have one.
        losses: the training loss of every step.
        seconds: of each phase.
        notes: what was decided, and who is out.
        decision: the rule's outcome and the reason in words; None without `fallback`.
        examples: "learned from" and "chosen on" -> how many (of this process).
    """

    model: nn.Module
    choice: str
    scores: dict[str, Scores]
    gates: GateTable
    soft: SoftMerge
    held_out_losses: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    decision: Choice | None = None
    examples: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite becomes a word."""
        found: dict[str, Any] = {
            "choice": self.choice,
            "level": self.soft.level,
            "reference": self.soft.reference,
            "held-out scores": {name: scores.to_dict() for name, scores in self.scores.items()},
            "held-out losses": dict(self.held_out_losses),
            "chosen by": self.decision.to_dict() if self.decision else None,
            "examples": self.examples,
            "gates": self.gates.to_dict(),
            "losses": self.losses,
            "seconds": self.seconds,
            "notes": self.notes,
        }
        return {name: finite(value) for name, value in found.items()}

    def _repr_html_(self) -> str:
        """The short form in a notebook: what was chosen, and the gates."""
        table = self.gates.table()
        return card(
            f"Of {self.gates.values.shape[1]} members, the {self.choice} network",
            [str(self.decision) if self.decision else "", *(f"Note: {one}." for one in self.notes)],
            table.headings,
            table.plain(),
        )

    def __str__(self) -> str:
        return "\n".join(
            [
                str(self.decision) if self.decision else self.choice,
                str(self.gates),
                *(f"note: {note}" for note in self.notes),
            ]
        )


@checked
@isolated
def fit_gates(
    soft: SoftMerge,
    data: Data,
    *,
    task: TaskChoice = AUTO,
    metrics: Any = (),
    by: str | None = None,
    held_out: Data | None = None,
    share: float = 0.3,
    steps: int = 300,
    lr: float = 0.1,
    penalty: float = 0.01,
    batch_size: int = 128,
    fallback: bool = True,
    seed: int = 0,
) -> SoftResult:
    """Learn the gates of `soft`, in place, and return the best network that comes of it.

    Under torch.distributed every rank gives its own part of the data. Gradients, statistics and
    decisions are shared by all.

    Args:
        soft: the gates to learn.
        data: labelled batches; a few hundred examples do. They are held in memory.
        task: what the networks are asked, as in `onefold.evaluate`; "auto": as `soft` was told,
            or else as outputs and labels tell.
        metrics: further scores of the candidates, as in `onefold.evaluate`.
        by: the name of the score that decides among candidates; None: the task's first.
        held_out: labelled batches to choose on; None draws a `share` of `data` at random.
        share: the part of `data` that is held out, between 0 and 1.
        steps: steps of Adam.
        lr: the learning rate at the start.
        penalty: lambda, the weight of the number of open gates.
        batch_size: examples of one step.
        fallback: False returns the gated network whatever it is worth; then nothing is held out.
        seed: of the split and of the order of examples.

    Raises:
        DataError: the data is empty, has no labels or labels that do not fit the task or tell
            none, or a network cannot run on it.
        MembersError: every member is unfit.
        SettingError: a setting is out of range, or the task has no such score to choose by.
    """
    _check(steps=steps, lr=lr, penalty=penalty, batch_size=batch_size, share=share)
    _ask(soft, as_scoring(task, metrics, by))
    start = time.perf_counter()
    examples, chosen_on = _examples(soft, data, held_out, fallback, share, seed)
    if not soft.prepared or soft.scores is None:
        soft.prepare(examples)
    if chosen_on is not None:
        for batch in chosen_on.chunks:
            soft.reading.check(batch)
    seconds = {"screen and align": time.perf_counter() - start}

    start = time.perf_counter()
    losses = train(soft, examples, steps, lr, penalty, batch_size, seed)
    prune(soft, examples, penalty)
    with waiting("Measuring the gated network"):
        soft.recalibrate(examples)
    seconds["learn gates"] = time.perf_counter() - start

    start = time.perf_counter()
    gates = soft.gates()
    gated = soft.harden()
    result = SoftResult(gated, GATED, {}, gates, soft, losses=losses, seconds=seconds)
    result.notes = [*repeated(soft.members), *(soft.basis.notes if soft.basis else [])]
    result.notes += [
        Note(f"member {k} was {told}") for k, told in gates.fates().items() if "out:" in told
    ]
    result.examples = {"learned from": len(examples), "chosen on": 0}
    if chosen_on is not None:
        judged = judge(soft, gated, examples, chosen_on)
        result.model, result.decision = judged.model, judged.choice
        result.choice = judged.choice.name
        result.scores, result.held_out_losses = judged.scores, judged.losses
        result.examples["chosen on"] = len(chosen_on)
    seconds["choose"] = time.perf_counter() - start
    return result


def _examples(
    soft: SoftMerge, data: Data, held_out: Data | None, fallback: bool, share: float, seed: int
) -> tuple[Examples, Examples | None]:
    """The examples to learn from, and those to choose on if there is anything to choose."""
    device = device_of(soft.members[0])
    examples = Examples.of(check_reiterable(data, "labelled data"), device)
    if not fallback:
        return examples, None
    if held_out is not None:
        held_out = check_reiterable(held_out, "held-out data")
        return examples, Examples.of(held_out, device, "held-out data")
    examples, chosen_on = examples.split(share, seed)
    if not len(examples) or not len(chosen_on):
        raise DataError(
            f"{len(examples) + len(chosen_on)} labelled examples cannot be split into some to"
            " learn from and some to choose on; give more."
        )
    return examples, chosen_on


def _ask(soft: SoftMerge, scoring: Scoring) -> None:
    """Ask the networks for another task or other scores than before, if any are named."""
    before = soft.reading.scoring
    if scoring.named is None:
        scoring = replace(scoring, task=before.task)
    told = soft.reading.task
    same = scoring.named is not None and told is not None and scoring.named.name == told.name
    if (same or scoring.named is None) and not scoring.metrics and scoring.by is None:
        return
    soft.ask(scoring)


def _check(*, steps: int, lr: float, penalty: float, batch_size: int, share: float) -> None:
    if steps < 1 or batch_size < 1:
        raise SettingError(
            f"steps is {steps} and batch_size {batch_size}; both must be at least 1."
        )
    if not lr > 0 or not penalty >= 0:
        raise SettingError(
            f"lr is {lr} and penalty {penalty}; give a rate above 0 and a penalty of at least 0."
        )
    if not 0 < share < 1:
        raise SettingError(
            f"share is {share}; it is the held-out part of the data, between 0 and 1."
        )


__all__ = ["SoftResult", "fit_gates"]
