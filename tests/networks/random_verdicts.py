"""What counts as a fault of a merge of identical networks, with every exception by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from random_merges import Outcome
from torch import nn


@dataclass(frozen=True)
class Excepted:
    """A reason for which outputs may be further off than the options allow: up to `bound`."""

    name: str
    bound: float
    applies: Callable[[Outcome], bool]


@dataclass(frozen=True)
class Refusal:
    """A sentence that a merge may end with, and where."""

    name: str
    part: str
    applies: Callable[[Outcome], bool]


def _differs_in_training(outcome: Outcome) -> bool:
    """Whether an instance norm keeps statistics: batch norms behind it saw other values then."""
    kinds = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
    return any(
        isinstance(m, kinds) and m.track_running_stats for m in outcome.made.network.modules()
    )


REFUSALS = (
    Refusal(
        "a soup by labels without labels",
        "The fold 'greedy_soup' chooses by labels, but the data has none",
        lambda o: o.options.fold == "greedy_soup" and not o.made.labelled,
    ),
    Refusal(
        "weights by correlation with no member",
        "weighs units by their correlation with one member's",
        lambda o: (
            o.options.fold == "correlated_average"
            and (
                o.options.align == "none"
                or o.options.reference is None
                or any("nothing was aligned" in text for text in o.warnings)
                or o.coverage == 0
            )
        ),
    ),
    Refusal("nothing can move", "can be aligned: ", lambda o: o.options.align != "none"),
)

EXCEPTIONS = (
    Excepted(
        "statistics of other data are estimated again, as was asked",
        float("inf"),
        lambda o: (
            o.norms.count > 0
            and (o.made.statistics == "other" or _differs_in_training(o))
            and o.repaired in ("batchnorm", "full")
            and (o.options.align == "none" or o.options.fold in ("greedy_soup", "auto", "pruning"))
        ),
    ),
)

STANDING = (
    Excepted(
        "pruning keeps a unit twice, and leaves out one that others nearly stand for (behind a"
        " layer norm one unit follows from the others)",
        0.3,
        lambda o: o.options.fold in ("pruning", "auto"),
    ),
    Excepted(
        "a norm without a layer before it is estimated again",
        float("inf"),
        lambda o: o.norms.loose and o.repaired in ("batchnorm", "full", "auto"),
    ),
)


def fault_of(outcome: Outcome) -> str | None:
    """What is wrong in words, or None."""
    if outcome.faults:
        return "; ".join(outcome.faults)
    if outcome.refusal is not None:
        return None if excused(outcome) else outcome.refusal
    assert outcome.deviation is not None
    if outcome.deviation <= outcome.options.bound or excused(outcome):
        return None
    return f"outputs are off by {outcome.deviation:.2g} of the largest"


def excused(outcome: Outcome) -> str | None:
    """The name of the exception that lets a refusal or a larger deviation pass."""
    if outcome.refusal is not None:
        for known in REFUSALS:
            if known.part in outcome.refusal and known.applies(outcome):
                return known.name
        return None
    if outcome.deviation is None or outcome.deviation <= outcome.options.bound:
        return None
    for excepted in (*EXCEPTIONS, *STANDING):
        if outcome.deviation <= excepted.bound and excepted.applies(outcome):
            return excepted.name
    return None
