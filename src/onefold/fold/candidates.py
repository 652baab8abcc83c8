"""The candidates of the fold "auto": what the members can be made into, from cheap to dear.

    member k, balanced     the member shifted to the data's shares of the classes (`balanced.py`)
    average                the plain average, of members that share an origin
    aligned average        the average of the aligned members, repaired
    least squares          towards the pool of classes if the members know different classes, else
                           towards the mean of the probabilities
    least squares, logits            towards the mean of the logits, if they know different classes:
                                     better than the pool where a member never saw a class
    least squares, member k first    else: with most of the weight on the best member

At most two of them are least-squares solves. What needs the graph is left out if the network cannot
be traced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from onefold.batches import Data
from onefold.comparison import Evidence, Relation
from onefold.ensemble.names import EnsembleName
from onefold.ensemble.pool import ClassPool
from onefold.errors import DataError, TraceError
from onefold.fold.balanced import balanced
from onefold.fold.least_squares import LeastSquares
from onefold.fold.network_fold import Folded, FoldJob

ALIGNED = "aligned average"
LEAD = 0.7  # the weight of the best member in the variant that it leads


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network that may be the result.

    Attributes:
        folded: its state, and how it is to be repaired.
        network: the network as it would be returned.
    """

    folded: Folded
    network: nn.Module


def name_of_member(k: int) -> str:
    """The name of member k as it came."""
    return f"member {k}"


def as_member(job: FoldJob, k: int) -> Candidate:
    """Member k as it came; repaired if the merge repairs whatever comes."""
    folded = Folded(job.models[k].state_dict(), repair=False, based=False)
    network = job.repaired(folded.state, False) if job.always else job.models[k]
    return Candidate(folded, network)


def candidates(
    job: FoldJob, evidence: Evidence, best: int, fold: LeastSquares, notes: list[str]
) -> dict[str, Candidate]:
    """All candidates but the members as they came, the cheapest first.

    Args:
        job: whose data are those to fold on.
        evidence: what was measured of the members.
        best: the best member.
        fold: least squares with its settings.
        notes: gets a sentence for each candidate that cannot be had.
    """
    assert job.data is not None
    found = _balanced(job, evidence, job.data)
    shared = evidence.origin.shared
    if shared or job.alignment is not None:
        state = job.average(job.shares)
        folded = Folded(state, repair=True, details={"shares": list(job.shares)})
        network = job.repaired(state, True)
        found["average" if shared else ALIGNED] = Candidate(folded, network)
    if job.traced is None:
        notes.append("least squares was not tried, as the network cannot be traced")
        return found
    for name, (solver, shares) in _solves(job, evidence, best, fold).items():
        try:
            folded = solver.fold(dataclasses.replace(job, shares=shares))
        except (TraceError, DataError) as error:
            notes.append(f"least squares was not tried: {error}")
            break
        network = (
            job.repaired(folded.state, folded.based) if job.always else job.plain(folded.state)
        )
        found[name] = Candidate(folded, network)
    return found


def _solves(
    job: FoldJob, evidence: Evidence, best: int, fold: LeastSquares
) -> dict[str, tuple[LeastSquares, tuple[float, ...]]]:
    """The two solves of least squares: the settings and the members' shares, by name."""
    found = {"least squares": (fold, job.shares)}
    by_rule = fold.ensemble is evidence.pool  # no ensemble was asked for
    if by_rule and evidence.relation is Relation.DIFFERENT:
        plain = dataclasses.replace(fold, ensemble="logits")
        return found | {"least squares, logits": (plain, job.shares)}
    return found | {f"least squares, member {best} first": (fold, led_by(best, job.shares))}


def aim(evidence: Evidence, ensemble: EnsembleName | ClassPool | None) -> EnsembleName | ClassPool:
    """The ensemble that least squares aims at: as asked, or as the members are."""
    if ensemble is not None:
        return ensemble
    if evidence.knowledge.apart is None:
        return "logits"
    return evidence.pool or "probabilities"


def led_by(best: int, shares: Sequence[float]) -> tuple[float, ...]:
    """The shares with the best member's raised to LEAD, if it is lower."""
    leading = max(LEAD, shares[best])
    rest = sum(shares) - shares[best]
    led = [share * (1 - leading) / rest if rest > 0 else 0.0 for share in shares]
    led[best] = leading
    return tuple(led)


def _balanced(job: FoldJob, evidence: Evidence, data: Data) -> dict[str, Candidate]:
    """Every member shifted to the data's shares of the classes, if it has a bias for that."""
    found: dict[str, Candidate] = {}
    if evidence.pool is None:
        return found
    for k in range(len(job.models)):
        network = balanced(job.models[k], evidence.pool.shifts[k], data, job.output)
        if network is not None:
            folded = Folded(network.state_dict(), repair=False, based=False)
            network = job.repaired(folded.state, False) if job.always else network
            found[f"member {k}, balanced"] = Candidate(folded, network)
    return found


__all__ = ["ALIGNED", "Candidate", "aim", "as_member", "candidates", "led_by", "name_of_member"]
