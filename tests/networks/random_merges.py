"""Merges of identical networks, by options drawn so that every pair of them meets often.

Whatever the options, identical members are one function, and a merge must give it back: averages,
soups and maps that keep the function to rounding, least squares and dense maps nearly.
"""

from __future__ import annotations

import itertools
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from random_networks import Case, largest_deviation, members
from torch import Tensor, nn

import onefold
from onefold.fold import LeastSquares
from onefold.symmetry import solve

ALIGN = (
    "none",
    "identity",
    "permutation",
    "weights",
    "transport",
    "zipit",
    "rotation",
    "procrustes",
    "cca",
)
FOLD = (
    "average",
    "soup",
    "greedy_soup",
    "correlated_average",
    "auto",
    "pruning",
    "correlation",
    "equal",
    "selection",
)
REPAIR = ("none", "batchnorm", "full", "auto")
TARGETS = FOLD[5:]  # of least squares
DENSE = ("zipit", "rotation", "procrustes", "cca")
EXACT, NEAR = 1e-5, 0.1
EACH = 6  # combinations of every network


@dataclass(frozen=True)
class Options:
    """How identical members are merged."""

    align: str
    fold: str
    repair: str
    members: int = 2
    reference: int | None = 0
    weighted: bool = False

    @property
    def bound(self) -> float:
        """How far outputs may be off, in units of the largest."""
        return NEAR if self.align in DENSE or self.fold in (*TARGETS, "auto") else EXACT

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every two of the named options, for counts."""
        named = [f"align {self.align}", f"fold {self.fold}", f"repair {self.repair}"]
        named += [f"{self.members} members", f"reference {self.reference}"]
        named.append("shares" if self.weighted else "equal shares")
        yield from itertools.combinations(named, 2)


@dataclass(frozen=True)
class Norms:
    """What a network's norms with statistics are: how many, and whether some have no layer before
    them (or no scale of their own), and whether some run at several places."""

    count: int
    loose: bool
    shared: bool


@dataclass
class Outcome:
    """What came of a merge. deviation: None where it was refused; refusal: the sentence then."""

    made: Case
    norms: Norms
    options: Options
    deviation: float | None = None
    refusal: str | None = None
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    coverage: float = 0.0
    repaired: str = ""


def options_of(number: int, which: int) -> Options:
    """The combination `which` (0 to 5) of network `number`.

    Align, fold and repair run through all their triples in blocks, each shuffled anew, so that
    every pair stands at least 36 times among 12,000 combinations.
    """
    block, place = divmod(EACH * number + which, len(ALIGN) * len(FOLD) * len(REPAIR))
    align, fold, repair = _block(block)[place]
    draw = random.Random(f"{number}/{which}")
    count = draw.choice((2, 2, 3))
    reference = draw.choice((0, 0, 0, 1, None))
    return Options(align, fold, repair, count, reference, draw.random() < 0.3)


@lru_cache(maxsize=4)
def _block(number: int) -> list[tuple[str, str, str]]:
    triples = list(itertools.product(ALIGN, FOLD, REPAIR))
    random.Random(f"block {number}").shuffle(triples)
    return triples


LABELLED = ("greedy_soup", "auto")  # folds that score
LOGITS: dict[str, str | int] = {
    "tuple": 0,
    "dict": "logits",
    "named": "logits",
    "features first": 1,
}


def tried(made: Case, norms: Norms, options: Options) -> Outcome:
    """Merge copies of the network, and say how far the result's outputs are off."""
    outcome = Outcome(made, norms, options)
    models = members(made, options.members)
    before = [_values(model) for model in models]
    draw = random.Random(made.number)
    settings: dict[str, Any] = {"fold": options.fold}
    if options.fold in TARGETS:
        settings = {"fold": LeastSquares(target=options.fold)}
    if made.returns != "one" and options.fold in LABELLED:
        settings["output"] = LOGITS[made.returns]
    if options.weighted:
        settings["weights"] = [draw.random() + 0.1 for _ in models]
    try:
        result = onefold.merge(
            models,
            made.data,
            align=options.align,
            repair=options.repair,
            reference=options.reference,
            **settings,
        )
    except onefold.OnefoldError as error:
        outcome.refusal = f"{type(error).__name__}: {error}"
        return outcome
    except Exception as error:  # what a user must never see
        outcome.faults.append(f"{type(error).__name__}: {str(error).splitlines()[0][:300]}")
        return outcome
    merged = result.model.eval()
    outcome.coverage, outcome.warnings = result.report.coverage, list(result.report.warnings)
    outcome.repaired = result.report.repair
    outcome.faults += _changed(before, [_values(model) for model in models])
    outcome.faults += _unlike(made.network, merged)
    ours, theirs = made.outputs(made.network), made.outputs(merged)
    if options.fold == "auto" and made.labelled:
        # It may aim at probabilities, which leave the logits of an example free by a shift.
        for outputs in (*ours, *theirs):
            outputs[0] = outputs[0] - outputs[0].mean(-1, keepdim=True)
    outcome.deviation = largest_deviation(ours, theirs)
    return outcome


def norms_of(made: Case) -> Norms:
    """Read from what the library finds in the network."""
    module = sys.modules["onefold.fold.steps"]
    try:
        spec = solve(module.trace_on(made.network, made.data))
    except onefold.OnefoldError:
        return Norms(
            sum(getattr(m, "running_mean", None) is not None for m in made.network.modules()),
            True,
            True,
        )
    behind = {layer.norm.node for layer in spec.layers if layer.norm and not layer.shared}
    loose = any(norm.node not in behind or norm.scale is None for norm in spec.norms)
    means = [norm.mean for norm in spec.norms]
    return Norms(len(means), loose, len(set(means)) < len(means))


@contextmanager
def traced_once(made: Case) -> Iterator[None]:
    """All merges of this network share one trace, which takes ten times as long as the rest."""
    module = sys.modules["onefold.fold.steps"]
    original = module.trace_on
    kept: list[Any] = []

    def trace_on(model: nn.Module, *arguments: Any, **keywords: Any) -> Any:
        if not kept:
            kept.append(original(model, *arguments, **keywords))
        return kept[0]

    module.trace_on = trace_on
    try:
        yield
    finally:
        module.trace_on = original


def outcomes(made: Case) -> list[Outcome]:
    """What came of all combinations of one network."""
    with traced_once(made), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(made.number)
        norms = norms_of(made)
        return [tried(made, norms, options_of(made.number, which)) for which in range(EACH)]


def _values(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _changed(before: list[dict[str, Tensor]], after: list[dict[str, Tensor]]) -> list[str]:
    """Members must stay as they were."""
    return [
        f"member {k}'s {name} was changed"
        for k, (old, new) in enumerate(zip(before, after, strict=True))
        for name in old
        if not torch.equal(old[name], new[name])
    ]


def _unlike(ours: nn.Module, merged: nn.Module) -> list[str]:
    """The result is a network of the members' class with the same tensors and flags."""
    found = []
    if type(ours) is not type(merged):
        found.append(f"the result is a {type(merged).__name__}")
    mine, theirs = ours.state_dict(), merged.state_dict()
    if list(mine) != list(theirs):
        return [*found, "the result has other tensors"]
    for name, tensor in mine.items():
        other = theirs[name]
        if (tensor.dtype, tensor.shape) != (other.dtype, other.shape):
            found.append(f"{name} is {other.dtype} {tuple(other.shape)} in the result")
        whole = not (tensor.is_floating_point() or tensor.is_complex())
        if whole and "num_batches_tracked" not in name and not torch.equal(tensor, other):
            found.append(f"the integers of {name} are others in the result")
    flags = {name: p.requires_grad for name, p in ours.named_parameters()}
    if flags != {name: p.requires_grad for name, p in merged.named_parameters()}:
        found.append("parameters are frozen otherwise in the result")
    return found
