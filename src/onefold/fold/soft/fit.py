"""Train the gates of a SoftMerge on a few hundred labelled examples, and say honestly whether that
was worth it.

    minimise over log_alpha   mean CE(soft(x), y) + lambda * penalty,   by Adam (learning rate 0.1,
    betas 0.9 and 0.99), cosine to a twentieth

At model level the members' logits are computed once and the gates are trained on them, which takes
about a second. The settings are those that did well in our own study (docs/soft_merging.md). A part
of the examples is held out; on it the gated network is compared with the best member of all
labelled examples and with the aligned average (choice.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.batches import Batch, Data, check_reiterable, device_of, dtype_of, forward
from onefold.distributed import from_first_rank, mean_over_ranks, several_ranks
from onefold.errors import DataError, SettingError
from onefold.fold.merge import merge
from onefold.fold.soft.choice import Choice, choose
from onefold.fold.soft.copies import own_copy
from onefold.fold.soft.examples import Examples
from onefold.fold.soft.mixture import weighted_outputs
from onefold.fold.soft.prune_gates import prune
from onefold.fold.soft.screening import score_member
from onefold.fold.soft.soft_merge import SoftMerge, member_logits
from onefold.fold.soft.table import GateTable
from onefold.measure.scores import Scores, check_labels, score_logits
from onefold.progress import track
from onefold.weights import repeated

GATED = "gated"
NOISELESS = 1 / 3  # the last third of the steps is without noise, but at model level


@dataclass
class SoftResult:
    """What gates made of the members.

    model: the network to use, with weights of its own: plain, or a Mixture. choice: "gated",
    "member k" or "aligned average". scores: of every candidate on the held-out examples.
    held_out_losses: there, in nats, at the best temperature. gates: as learned. soft: the gates
    themselves. losses: one for each step. seconds: of each phase. notes: what was decided, and who
    is out. decision: what was chosen by, and the reason in words; None without `fallback`.
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
        """Plain data for JSON."""
        return {
            "choice": self.choice,
            "level": self.soft.level,
            "reference": self.soft.reference,
            "held-out scores": {name: scores.to_dict() for name, scores in self.scores.items()},
            "held-out losses": {
                name: loss if math.isfinite(loss) else str(loss)
                for name, loss in self.held_out_losses.items()
            },
            "chosen by": self.decision.to_dict() if self.decision else None,
            "examples": self.examples,
            "gates": self.gates.to_dict(),
            "losses": self.losses,
            "seconds": self.seconds,
            "notes": self.notes,
        }

    def __str__(self) -> str:
        return "\n".join(
            [
                str(self.decision) if self.decision else self.choice,
                str(self.gates),
                *(f"note: {note}" for note in self.notes),
            ]
        )


def fit_gates(
    soft: SoftMerge,
    data: Data,
    *,
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

    Args:
        data: labelled batches; a few hundred examples do. They are kept in memory.
        held_out: labelled batches to choose on; None: a `share` of `data`, drawn at random.
        steps, lr, penalty, batch_size: see the equation above; `penalty` is lambda.
        fallback: False returns the gated network whatever it is worth; then nothing is held out.
        seed: of the split and of the order of examples.

    Under torch.distributed every rank gives its own part of the data; gradients, statistics and
    decisions are shared by all.

    Raises:
        DataError: the data is empty, has no labels or labels out of range, or a network cannot run
            on it.
        MembersError: every member is unfit. SettingError: an impossible setting.
    """
    _check(steps=steps, lr=lr, penalty=penalty, batch_size=batch_size, share=share)
    start = time.perf_counter()
    device = device_of(soft.members[0])
    examples = Examples.of(check_reiterable(data, "labelled data"), device)
    chosen_on: Examples | None = None
    if fallback and held_out is not None:
        chosen_on = Examples.of(
            check_reiterable(held_out, "held-out data"), device, "held-out data"
        )
    elif fallback:
        examples, chosen_on = examples.split(share, seed)
        if not len(examples) or not len(chosen_on):
            raise DataError(
                f"{len(examples) + len(chosen_on)} labelled examples cannot be split into some to"
                " learn from and some to choose on; give more."
            )
    if not soft.prepared or soft.scores is None:
        soft.prepare(examples)
    if chosen_on is not None and soft.classes is not None:
        check_labels(chosen_on.labels, soft.classes)
    seconds = {"screen and align": time.perf_counter() - start}

    start = time.perf_counter()
    losses = _train(soft, examples, steps, lr, penalty, batch_size, seed)
    _prune(soft, examples, penalty)
    soft.recalibrate(examples)
    seconds["learn gates"] = time.perf_counter() - start

    start = time.perf_counter()
    table = soft.gates()
    notes = [*repeated(soft.members), *(soft.basis.notes if soft.basis else [])]
    notes += [f"member {k} was {what}" for k, what in table.fates().items() if "out:" in what]
    gated = soft.harden()
    choice, model = GATED, gated
    read = {"learned from": len(examples), "chosen on": 0 if chosen_on is None else len(chosen_on)}
    scores: dict[str, Scores] = {}
    fitted: dict[str, float] = {}
    decision: Choice | None = None
    if chosen_on is not None:
        candidates: dict[str, nn.Module] = {GATED: gated}
        average = aligned_average(soft, examples)
        if average is not None:
            candidates["aligned average"] = average
        candidates |= {f"member {k}": soft.members[k] for k in soft.survivors}
        outputs = {
            name: member_logits(candidate, chosen_on, soft.output, soft.axis)
            for name, candidate in candidates.items()
        }
        scores = {name: score_logits(rows, chosen_on.labels) for name, rows in outputs.items()}
        fitted = {
            name: score_member(rows, chosen_on.labels).fitted_loss for name, rows in outputs.items()
        }
        learned = (
            {f"member {k}": soft.scores[k].fitted_loss for k in soft.survivors}
            if soft.scores
            else {}
        )
        scores, fitted, decision = from_first_rank(
            (scores, fitted, choose(scores, fitted, learned, len(examples)))
        )
        choice = decision.name
        model = (
            own_copy(candidates[choice]).eval()
            if choice.startswith("member")
            else candidates[choice]
        )
    seconds["choose"] = time.perf_counter() - start
    return SoftResult(
        model, choice, scores, table, soft, fitted, losses, seconds, notes, decision, read
    )


def aligned_average(soft: SoftMerge, examples: Examples) -> nn.Module | None:
    """The plain average of the survivors in the basis that the gates work in, repaired; None at
    model level or where it cannot be had.
    """
    if (
        soft.basis is None
        or len(soft.survivors) < 2
        or any(k in soft.survivors for _, k in soft.masked)
    ):
        return None
    alignment = soft.basis.alignment
    if alignment is None:
        average = merge(
            [soft.members[k] for k in soft.survivors],
            list(examples),
            align="none",
            repair="batchnorm",
        ).model
    else:
        shares = [float(k in soft.survivors) for k in soft.basis.aligned]
        members = [soft.members[k] for k in soft.basis.aligned]
        average = merge(
            members,
            list(examples),
            align=alignment,
            spec=alignment.spec,
            repair="batchnorm",
            weights=shares,
        ).model
    if several_ranks():  # every rank repaired it on data of its own
        state = from_first_rank({name: value.cpu() for name, value in average.state_dict().items()})
        average.load_state_dict(state)
    return average


def _train(
    soft: SoftMerge,
    examples: Examples,
    steps: int,
    rate: float,
    weight: float,
    size: int,
    seed: int,
) -> list[float]:
    """The loop. A step whose loss is not finite teaches nothing."""
    generator = torch.Generator().manual_seed(seed)
    gate = soft.gate
    optimiser = torch.optim.Adam(gate.parameters(), rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=rate / 20)
    draw = (
        _cached(soft, examples, size, generator)
        if soft.level == "model"
        else _through(soft, examples, size, generator)
    )
    losses = []
    with _training(soft):
        for step in track(range(steps), "Learning gates"):
            if soft.level != "model" and step >= (1 - NOISELESS) * steps:
                soft.stochastic = False
            logits, labels = next(draw)
            loss = F.cross_entropy(logits.float(), labels) + weight * soft.penalty()
            optimiser.zero_grad()
            if bool(loss.isfinite()):
                loss.backward()  # type: ignore[no-untyped-call]
            log_alpha = gate.log_alpha
            log_alpha.grad = mean_over_ranks(
                log_alpha.grad if log_alpha.grad is not None else torch.zeros_like(log_alpha)
            )
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
    return losses


def _prune(soft: SoftMerge, examples: Examples, weight: float) -> None:
    """Leave out members that are not worth their gates, judged on the examples that the gates were
    learned from.
    """
    if soft.level == "model":
        live = soft.survivors
        outputs = soft.outputs_on(examples)

        def losses() -> Tensor:
            logits = weighted_outputs(soft.gate(False)[0][live], outputs, soft.outputs)
            return F.cross_entropy(logits, examples.labels, reduction="none")

    else:

        def losses() -> Tensor:
            with _training(soft):
                soft.stochastic = False
                drawn = [
                    (soft.logits(_run(soft, batch), batch, soft), batch.labels)
                    for batch in examples.batches(256)
                ]
            rows = [
                F.cross_entropy(x.flatten(0, -2).float(), y.reshape(-1), reduction="none")
                for x, y in drawn
                if y is not None
            ]
            return torch.cat(rows)

    scores = soft.scores or []
    classes = soft.classes or 2
    suspects = [
        k for k in soft.survivors if k < len(scores) and scores[k].loss >= math.log(classes)
    ]
    for k in prune(soft.gate, losses, weight, suspects):
        soft.pruned[k] = (
            "leaving it out costs no more than its gates do"
            if k not in suspects
            else "nothing shows that it is needed"
        )


def _cached(
    soft: SoftMerge, examples: Examples, size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Gated logits and labels of random batches, at model level, from outputs that are computed
    once.
    """
    live = soft.survivors
    outputs = torch.stack(soft.outputs_on(examples))
    labels = examples.labels
    while True:
        rows = torch.randperm(len(labels), generator=generator)[:size].to(labels.device)
        gates = soft.gate(soft.stochastic)[0][live]
        yield weighted_outputs(gates, list(outputs[:, rows]), soft.outputs), labels[rows]


def _through(
    soft: SoftMerge, examples: Examples, size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Gated logits and labels of random batches."""
    while True:
        batch: Batch = examples.draw(size, generator)
        assert batch.labels is not None
        logits = soft.logits(_run(soft, batch), batch, soft)
        yield logits.reshape(-1, logits.shape[-1]), batch.labels.reshape(-1)


def _run(soft: SoftMerge, batch: Batch) -> Any:
    """The gated output; inputs are of the members' dtype, which may be another than the gates'."""
    return forward(soft, batch, dtype_of(soft.members[0]))


@contextmanager
def _training(soft: SoftMerge) -> Iterator[None]:
    """Training mode for the time being, and the setting of noise as it was afterwards; the gates
    are in eval mode at the end.
    """
    stochastic = soft.stochastic
    soft.train()
    try:
        yield
    finally:
        soft.eval()
        soft.stochastic = stochastic


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


__all__ = ["SoftResult", "aligned_average", "fit_gates"]
