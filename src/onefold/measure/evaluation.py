"""Networks on data: their predictions, scores and agreement, one network, many, or their ensemble, in one pass over the data.

An ensemble of K networks predicts with the mean of their probabilities, (1/K) sum_k softmax(f_k(x)) (Lakshminarayanan et al. 2017,
arXiv 1612.01474), or with the softmax of their mean logits. The two differ; `Scores.ensemble` names the one that was used.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from onefold.batches import Batch, Data, batches, device_of, labels_of, reusable
from onefold.errors import DataError, MembersError, RecipeError, nearest
from onefold.inference import ClassAxis, Output, OutputChoice, as_output, run
from onefold.measure.calibration import Binning
from onefold.measure.chance import InputFacts
from onefold.measure.pool import ClassPool, mean_pool, name_of
from onefold.measure.scores import ENSEMBLE_MEANS, EnsembleMean, Scores, Tally, broken_rows, flatten
from onefold.progress import track
from onefold.sources import DiskMembers
from onefold.sources.class_names import class_names_of
from onefold.weights import warn_of_repeated

DISORDER = "The data come in another order when they are read again, as members on disk need them; turn shuffling off."


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Several networks on the same data: each one's scores, those of their ensemble, and `agreement` (K, K), the shares of equal predictions."""

    members: tuple[Scores, ...]
    ensemble: Scores
    agreement: Tensor

    @property
    def best(self) -> int:
        """Index of the most accurate member; on a tie the one of lower NLL, then the first."""
        return min(range(len(self.members)), key=lambda k: (-self.members[k].accuracy, self.members[k].nll))

    def __str__(self) -> str:
        lines = [f"member {k}: {scores}" for k, scores in enumerate(self.members)]
        return "\n".join([*lines, f"ensemble: {self.ensemble}"])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        members = [scores.to_dict() for scores in self.members]
        return {"members": members, "ensemble": self.ensemble.to_dict(), "agreement": self.agreement.tolist()}


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

    Args:
        model: a network that returns logits (n, classes), or a list of them, whose ensemble is then scored.
        data: batches with labels (n,); logits (n, classes, ...) or (n, ..., classes) with labels (n, ...) are fine too.
        ensemble: average the members' "probabilities" or "logits", or pool them class by class (`onefold.class_pool`).
        bins, binning: of the calibration error: "equal-width" or "adaptive" (equal numbers of examples).
        device: where to compute; a network that lies elsewhere is copied there. Default: each network's own device.
        output: which output is scored where a network returns several, and on which axis its classes lie
            (`onefold.inference`): a name, an index, a function, or an Output.

    An accuracy that is no better than answering always the same class has a `hint` (`Scores.hint`).
    The networks run in eval mode without gradients; their training flags are as before afterwards. Warns (RepeatedMembers) of a network that is
    given twice.

    Raises:
        DataError: the data is empty or has no labels, a label is out of range, a network cannot run on a batch, or
            returns several outputs and `output` names none.
        MembersError: there is no network, or the networks have different numbers of classes.
        RecipeError: unknown ensemble or binning.
    """
    models = networks(model)
    result = evaluate_all(models, data, ensemble=ensemble, bins=bins, binning=binning, device=device, output=output)
    return result.members[0] if len(models) == 1 and isinstance(ensemble, str) else result.ensemble


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
    """Score every network and their ensemble in one pass over the data; arguments and errors as `evaluate`."""
    if isinstance(ensemble, str) and ensemble not in ENSEMBLE_MEANS:
        raise RecipeError(f"There is no ensemble by '{ensemble}'; {nearest(ensemble, ENSEMBLE_MEANS)}")
    models = networks(models)
    warn_of_repeated(models)
    models = _placed(models, device)
    several = len(models) > 1 or isinstance(ensemble, ClassPool)
    tallies = [Tally(bins, binning) for _ in models]
    together = Tally(bins, binning)
    meant, facts = as_output(output), InputFacts(class_names_of(data))
    axis = ClassAxis(meant, "scoring")
    equal = torch.zeros(len(models), len(models), dtype=torch.float64)
    with eval_mode(models):
        for outputs, batch in _outputs(models, data, "Scoring", meant):
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
    return Evaluation(members, together.scores(len(models), name_of(ensemble), mean_of_pairs(shares), facts) if several else members[0], shares)


def predictions(
    model: nn.Module, data: Data, *, device: torch.device | str | None = None, output: OutputChoice = None
) -> tuple[Tensor, Tensor | None]:
    """The logits (n, ...) of a network on all of the data, in its dtype and on the CPU, and the labels (n, ...), None where there are none.

    Axes are as the network puts them out; `output` is as in `evaluate`.

    Raises:
        DataError: the data is empty, only some batches have labels, or the network cannot run on a batch.
    """
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    models = _placed(networks(model), device)
    with eval_mode(models):
        for (own,), batch in _outputs(models, data, "Predicting", as_output(output)):
            logits.append(own.cpu())
            if batch.labels is not None:
                labels.append(batch.labels.cpu())
    if labels and len(labels) < len(logits):
        raise DataError(f"Only {len(labels)} of {len(logits)} batches have labels; give labels to all or to none.")
    return torch.cat(logits), torch.cat(labels) if labels else None


def class_outputs(model: nn.Module, data: Data, meant: Output, todo: str) -> Tensor:
    """The logits (n, C) of a network on all of the data, in its dtype and on the CPU, for what reads no labels. todo: as of `ClassAxis`.

    Raises:
        DataError: as `predictions`, or nothing says where the classes are.
    """
    axis, rows = ClassAxis(meant, todo), []
    with eval_mode([model]):
        for (own,), batch in _outputs([model], data, "Predicting", meant):
            rows.append(axis.last(own, batch.labels, where=f" of batch {batch.index}").flatten(0, -2).cpu())
    return torch.cat(rows)


def agreement(models: Sequence[nn.Module], data: Data, *, device: torch.device | str | None = None, output: OutputChoice = None) -> Tensor:
    """The shares of examples (K, K), float64, on which two networks predict the same class.

    Labels are not needed; where there are some, their shape says where the classes lie. `output` is as in `evaluate`.

    Raises:
        DataError: the data is empty or a network cannot run on it.
        MembersError: there is no network, or the networks have different numbers of classes.
    """
    models = _placed(networks(models), device)
    equal = torch.zeros(len(models), len(models), dtype=torch.float64)
    meant, n = as_output(output), 0
    axis = ClassAxis(meant, "comparing answers")
    with eval_mode(models):
        for found, batch in _outputs(models, data, "Comparing", meant):
            outputs = [axis.last(logits, batch.labels, where=f" of batch {batch.index}") for logits in found]
            rows = [flatten(logits, torch.zeros(logits.shape[:-1], dtype=torch.long))[0] for logits in outputs]
            n += len(rows[0])
            equal += _equal(rows)
    return equal / n


@contextmanager
def eval_mode(models: Sequence[nn.Module]) -> Iterator[None]:
    """All networks in eval mode without gradients; afterwards every submodule has its training flag back, also after an error."""
    models = [] if isinstance(models, DiskMembers) else models  # they are
    flags = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, flag in flags:
            module.training = flag


def networks(models: Any) -> Sequence[nn.Module]:
    """One network or several, as a list, or as members that stay on disk.

    Raises:
        MembersError: there is none, or something is no nn.Module.
    """
    if isinstance(models, DiskMembers):
        return models
    found = [models] if isinstance(models, nn.Module) and not isinstance(models, nn.ModuleList) else list(models)
    if not found:
        raise MembersError("There is no network to evaluate; pass at least one.")
    for k, model in enumerate(found):
        if not isinstance(model, nn.Module):
            raise MembersError(f"Member {k} is a {type(model).__name__}, not an nn.Module; load it into its network first.")
    return found


def _placed(models: Sequence[nn.Module], device: torch.device | str | None) -> Sequence[nn.Module]:
    """The networks on `device`: copies of those that lie elsewhere. Members on disk go where they were said to go."""
    if device is None or isinstance(models, DiskMembers):
        return models
    wanted = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0"
    return [model if device_of(model) == wanted else copy.deepcopy(model).to(wanted) for model in models]


def _outputs(models: Sequence[nn.Module], data: Data, title: str, meant: Output) -> Iterator[tuple[list[Tensor], Batch]]:
    """Every network's logits on every batch."""
    if isinstance(models, DiskMembers):
        yield from _outputs_in_turn(models, data, title, meant)
        return
    devices = [device_of(model) for model in models]
    total = len(data) if isinstance(data, Sized) else None
    for batch in track(batches(data), title, total):
        placed = {device: _moved(batch, device) for device in dict.fromkeys(devices)}
        outputs = [run(model, placed[device], meant) for model, device in zip(models, devices, strict=True)]
        for k, output in enumerate(outputs):
            if output.shape != outputs[0].shape:
                shapes = f"{tuple(output.shape)}, but member 0 {tuple(outputs[0].shape)}"
                raise MembersError(f"Member {k} returns logits of shape {shapes}; compare networks of one task only.")
        yield outputs, batch


def _outputs_in_turn(models: DiskMembers, data: Data, title: str, meant: Output) -> Iterator[tuple[list[Tensor], Batch]]:
    """The same, one network after the other; the logits of all wait in memory, no two networks do.

    Raises:
        DataError: the data can be read only once, or come in another order when they are read again.
    """
    data = reusable(data)
    found: list[list[Tensor]] = []
    first: list[list[float]] = []
    for k in range(len(models)):
        own = [(output.cpu(), _sums(batch)) for (output,), batch in _outputs([models[k]], data, f"{title} member {k}", meant)]
        found.append([output for output, _ in own])
        first = first or [sums for _, sums in own]
        if [sums for _, sums in own] != first:
            raise DataError(DISORDER)
    for position, batch in enumerate(batches(data)):
        if first[position : position + 1] != [_sums(batch)]:
            raise DataError(DISORDER)
        yield [outputs[position] for outputs in found], batch


def _sums(batch: Batch) -> list[float]:
    """What tells a batch from another."""
    tensors = [x for x in (*batch.args, *batch.kwargs.values(), batch.labels) if isinstance(x, Tensor)]
    return [float(x.nan_to_num().sum(dtype=torch.float64)) for x in tensors]


def _moved(batch: Batch, device: torch.device) -> Batch:
    def to(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    return replace(batch, args=tuple(to(x) for x in batch.args), kwargs={key: to(x) for key, x in batch.kwargs.items()})


def mean_output(rows: Sequence[Tensor], ensemble: EnsembleMean | ClassPool) -> Tensor:
    """The unnormalised log-probabilities (n, ..., classes) of an ensemble, from its members' logits of this shape.

    They are the mean of the logits, the logarithm of the mean of the probabilities, or what a pool makes of them; a row that is broken in one
    member is broken in all.
    """
    if ensemble == "logits":
        return torch.stack(list(rows)).mean(0)
    pool = ensemble if isinstance(ensemble, ClassPool) else mean_pool([1.0] * len(rows))
    mean = pool.combined(rows)
    broken = torch.stack([broken_rows(logits) for logits in rows]).any(0)
    return mean.masked_fill(broken.unsqueeze(-1), torch.nan)


def _equal(rows: list[Tensor]) -> Tensor:
    """Numbers (K, K) of equal predictions; a broken row agrees with no other member."""
    predicted = torch.stack([logits.argmax(-1).masked_fill(broken_rows(logits), -1 - k) for k, logits in enumerate(rows)])
    return (predicted.unsqueeze(0) == predicted.unsqueeze(1)).double().sum(-1)


def mean_of_pairs(shares: Tensor) -> float:
    """The mean over all pairs of different networks of a symmetric (K, K)."""
    first, second = torch.triu_indices(len(shares), len(shares), offset=1)
    return float(shares[first, second].mean())
