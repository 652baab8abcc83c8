"""Scores and agreement of one network, several, or their ensemble, in one pass over the data.

An ensemble of K networks predicts with the mean of their probabilities, (1/K) sum_k softmax(f_k(x))
(Lakshminarayanan et al. 2017, arXiv 1612.01474), or with the softmax of their mean logits. The two
differ; `Scores.ensemble` names the one that was used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Data, labels_of
from onefold.ensemble.mean import mean_output
from onefold.ensemble.names import ENSEMBLE_MEANS, EnsembleMean, check_ensemble, name_of
from onefold.ensemble.pool import ClassPool
from onefold.inference import ClassAxis, OutputChoice, as_output
from onefold.inference.outputs import broken_rows
from onefold.inference.running import eval_mode, networks, outputs_of
from onefold.isolation import isolated
from onefold.measure.calibration import Binning
from onefold.measure.chance import InputFacts
from onefold.measure.scores import Scores, Tally, flatten
from onefold.notebook import card
from onefold.sources.class_names import class_names_of
from onefold.weights import warn_of_repeated


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Several networks on the same data.

    Attributes:
        members: each network's scores.
        ensemble: the scores of their ensemble; of one network alone its own.
        agreement: (K, K) float64, the shares of equal predictions.
    """

    members: tuple[Scores, ...]
    ensemble: Scores
    agreement: Tensor

    @property
    def best(self) -> int:
        """Index of the most accurate member; on a tie the one of lower NLL, then the first."""
        return min(
            range(len(self.members)), key=lambda k: (-self.members[k].accuracy, self.members[k].nll)
        )

    def __repr__(self) -> str:
        accuracies = [scores.accuracy for scores in self.members]
        return (
            f"Evaluation(members={len(self.members)}, accuracy={min(accuracies):.4f} to"
            f" {max(accuracies):.4f}, best={self.best}, ensemble={self.ensemble.accuracy:.4f})"
        )

    def _repr_html_(self) -> str:
        """The short form in a notebook: a row for every network, and one for their ensemble."""
        named = {f"network {k}": one for k, one in enumerate(self.members)}
        if len(self.members) > 1:
            named[f"ensemble of {len(self.members)}"] = self.ensemble
        rows = [
            (
                name,
                f"{100 * one.accuracy:.2f} % ± {100 * one.accuracy_error:.2f}",
                f"{one.nll:.4f} nats",
                f"{100 * one.ece:.2f} %",
            )
            for name, one in named.items()
        ]
        title = f"Scores on {self.members[0].n:,} examples"
        return card(title, (), ("network", "accuracy", "NLL", "ECE"), rows)

    def __str__(self) -> str:
        lines = [f"member {k}: {scores}" for k, scores in enumerate(self.members)]
        return "\n".join([*lines, f"ensemble: {self.ensemble}"])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        members = [scores.to_dict() for scores in self.members]
        return {
            "members": members,
            "ensemble": self.ensemble.to_dict(),
            "agreement": self.agreement.tolist(),
        }


@checked
@isolated
def evaluate(
    model: nn.Module | Sequence[nn.Module],
    data: Data,
    *,
    ensemble: EnsembleMean | ClassPool = "probabilities",
    bins: int = 15,
    binning: Binning = "equal-width",
    device: torch.device | str | None = None,
    output: OutputChoice = None,
) -> Scores:
    """Score one network, or the ensemble of several, on labelled data.

    An accuracy that is no better than answering always the same class has a `hint` (`Scores.hint`).
    The networks run in eval mode without gradients; their training flags are as before afterwards.
    Warns (RepeatedMembers) of a network that is given twice.

    Args:
        model: a network that returns logits (n, classes), or a list of them, whose ensemble is then
            scored.
        data: batches with labels (n,); logits (n, classes, ...) or (n, ..., classes) with labels
            (n, ...) are fine too.
        ensemble: what answers for several networks: the mean of their "probabilities", "logits" or
            "outputs", or a pool (`onefold.class_pool`), as in `onefold.Ensemble`.
        bins: of the calibration error.
        binning: "equal-width" or "adaptive" (equal numbers of examples).
        device: where to compute; a network on another device is copied there. Default: each
            network's own device.
        output: which output is scored if a network returns several, and on which axis its classes
            lie (`onefold.inference`): a name, an index, a function, or an Output.

    Raises:
        DataError: the data is empty or has no labels, a label is out of range, a network cannot run
            on a batch, or returns several outputs and `output` names none.
        MembersError: there is no network, or the networks have different numbers of classes.
        SettingError: unknown ensemble or binning, or a pool of another number of members.
    """
    models = networks(model)
    result = evaluate_all(
        models, data, ensemble=ensemble, bins=bins, binning=binning, device=device, output=output
    )
    return result.members[0] if len(models) == 1 and isinstance(ensemble, str) else result.ensemble


@checked
@isolated
def evaluate_all(
    models: Sequence[nn.Module],
    data: Data,
    *,
    ensemble: EnsembleMean | ClassPool = "probabilities",
    bins: int = 15,
    binning: Binning = "equal-width",
    device: torch.device | str | None = None,
    output: OutputChoice = None,
) -> Evaluation:
    """Score every network and their ensemble in one pass over the data.

    Args:
        models: one network or more.
        data: as in `evaluate`, and so are all further arguments.
        ensemble: as in `evaluate`.
        bins: as in `evaluate`.
        binning: as in `evaluate`.
        device: as in `evaluate`.
        output: as in `evaluate`.

    Raises:
        DataError, MembersError, SettingError: as `evaluate`.
    """
    models = networks(models)
    check_ensemble(ensemble, ENSEMBLE_MEANS, len(models))
    warn_of_repeated(models)
    models = models.on(device)
    several = len(models) > 1 or isinstance(ensemble, ClassPool)
    tallies = [Tally(bins, binning) for _ in models]
    together = Tally(bins, binning)
    meant, facts = as_output(output), InputFacts(class_names_of(data))
    axis = ClassAxis(meant, "scoring")
    equal = torch.zeros(len(models), len(models), dtype=torch.float64)
    with eval_mode(models):
        for outputs, batch in outputs_of(models, data, "Scoring", meant):
            given = labels_of(batch, "scores need them")
            facts.see(batch)
            where = f" of batch {batch.index}"
            outputs = [axis.last(logits, given, scored=True, where=where) for logits in outputs]
            pairs = [flatten(logits, given) for logits in outputs]
            labels = pairs[0][1]
            rows = [logits for logits, _ in pairs]
            for tally, logits in zip(tallies, rows, strict=True):
                tally.add(logits, labels, given.numel() - len(labels))
            if several:
                together.add(mean_output(rows, ensemble), labels, given.numel() - len(labels))
            equal += _equal(rows)
    members = tuple(tally.scores(facts=facts) for tally in tallies)
    shares = equal / members[0].n
    if not several:
        return Evaluation(members, members[0], shares)
    together_scores = together.scores(len(models), name_of(ensemble), mean_of_pairs(shares), facts)
    return Evaluation(members, together_scores, shares)


@checked
@isolated
def agreement(
    models: Sequence[nn.Module],
    data: Data,
    *,
    device: torch.device | str | None = None,
    output: OutputChoice = None,
) -> Tensor:
    """The shares of examples (K, K), float64, on which two networks predict the same class.

    Labels are not needed; if there are some, their shape says where the classes lie.

    Args:
        models: K networks.
        data: batches.
        device: as in `evaluate`.
        output: as in `evaluate`.

    Raises:
        DataError: the data is empty or a network cannot run on it.
        MembersError: there is no network, or the networks have different numbers of classes.
    """
    models = networks(models).on(device)
    equal = torch.zeros(len(models), len(models), dtype=torch.float64)
    meant, n = as_output(output), 0
    axis = ClassAxis(meant, "comparing answers")
    with eval_mode(models):
        for found, batch in outputs_of(models, data, "Comparing", meant):
            outputs = [
                axis.last(logits, batch.labels, where=f" of batch {batch.index}")
                for logits in found
            ]
            rows = [
                flatten(logits, torch.zeros(logits.shape[:-1], dtype=torch.long))[0]
                for logits in outputs
            ]
            n += len(rows[0])
            equal += _equal(rows)
    return equal / n


def _equal(rows: list[Tensor]) -> Tensor:
    """Numbers (K, K) of equal predictions; a broken row agrees with no other member."""
    answers = [
        logits.argmax(-1).masked_fill(broken_rows(logits), -1 - k) for k, logits in enumerate(rows)
    ]
    predicted = torch.stack(answers)
    return (predicted.unsqueeze(0) == predicted.unsqueeze(1)).double().sum(-1)


def mean_of_pairs(shares: Tensor) -> float:
    """The mean over all pairs of different networks of a symmetric (K, K)."""
    first, second = torch.triu_indices(len(shares), len(shares), offset=1, device=shares.device)
    return float(shares[first, second].mean())
