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
from typing import Any

import torch
from random_networks import Case, largest_deviation, members
from torch import Tensor, nn

import onefold
from onefold.fold import LeastSquares

ALIGN = (
    "none", "identity", "permutation", "weights", "transport", "zipit", "rotation", "procrustes", "cca",
)  # fmt: skip
FOLD = (
    "average", "soup", "greedy_soup", "correlated_average", "auto",
    "pruning", "correlation", "equal", "selection",
)  # fmt: skip
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


@dataclass
class Outcome:
    """What came of a merge. deviation: None where it was refused; refusal: the sentence then."""

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
    triples = list(itertools.product(ALIGN, FOLD, REPAIR))
    block, place = divmod(EACH * number + which, len(triples))
    random.Random(f"block {block}").shuffle(triples)
    align, fold, repair = triples[place]
    draw = random.Random(f"{number}/{which}")
    count = draw.choice((2, 2, 3))
    reference = draw.choice((0, 0, 0, 1, None))
    return Options(align, fold, repair, count, reference, draw.random() < 0.3)


def tried(made: Case, options: Options) -> Outcome:
    """Merge copies of the network, and say how far the result's outputs are off."""
    outcome = Outcome(options)
    models = members(made, options.members)
    before = [_values(model) for model in models]
    draw = random.Random(made.number)
    settings: dict[str, Any] = {"fold": options.fold}
    if options.fold in TARGETS:
        settings = {"fold": LeastSquares(target=options.fold)}
    if options.weighted:
        settings["weights"] = [draw.random() + 0.1 for _ in models]
    try:
        result = onefold.merge(
            models, made.data, align=options.align, repair=options.repair,
            reference=options.reference, **settings,
        )  # fmt: skip
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
    outcome.deviation = largest_deviation(made.outputs(made.network), made.outputs(merged))
    return outcome


@contextmanager
def traced_once(made: Case) -> Iterator[None]:
    """All merges of this network share one trace, which takes ten times as long as the rest."""
    module = sys.modules["onefold.fold.merge"]
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
        return [tried(made, options_of(made.number, which)) for which in range(EACH)]


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
        elif not tensor.is_floating_point() and not tensor.is_complex():
            if not name.endswith("num_batches_tracked") and not torch.equal(tensor, other):
                found.append(f"the integers of {name} are others in the result")
    flags = {name: p.requires_grad for name, p in ours.named_parameters()}
    if flags != {name: p.requires_grad for name, p in merged.named_parameters()}:
        found.append("parameters are frozen otherwise in the result")
    return found
