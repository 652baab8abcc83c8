"""Alignment of members that stay on disk, of which two are in memory at a time.

With a reference r each other member k is read, run beside r over the data, and solved. Then only
its maps stay in memory. The moments are those of one pair at a time, 3 C^2 numbers for each probe.
If all members are solved at once (joint matchers, a common basis), the moments of all K (K - 1) / 2
pairs are gathered pair after pair and stored: K (K + 1) / 2 C^2 numbers.

All results are bit-identical to those of running all members together. The reference runs K - 1
times instead of once, each member K - 1 times if all pairs are needed. The data are read as often.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from itertools import combinations

from torch import nn

from onefold.alignment.alignment import Alignment
from onefold.alignment.assemble import assemble
from onefold.alignment.checkpoint import NoCheckpoint
from onefold.alignment.checks import check_networks
from onefold.alignment.matchers import JointMatcher, Matcher, StateMatcher
from onefold.alignment.moments import Moments
from onefold.alignment.problem import (
    AlignmentProblem,
    Reading,
    build_problem,
    check_reference,
    check_spec,
    fold_all,
)
from onefold.alignment.results import Solution, joined, only
from onefold.alignment.solve import solve_groups
from onefold.alignment.statistics import Statistics
from onefold.alignment.structure import check_movable, trace_on
from onefold.batches import Data
from onefold.progress import track
from onefold.sources import Members
from onefold.symmetry import SymmetrySpec, TracedNetwork, solve


@dataclasses.dataclass(frozen=True)
class Job:
    """An alignment of members on disk, as `onefold.align` was asked for it.

    Attributes:
        models: the members.
        data: calibration batches.
        matcher: who solves.
        spec: the symmetries of the network.
        traced: its graph.
        reference: the member that the others are mapped to, or None.
        reading: what is read of the members.
        scales: whether the scales of norms can be folded in every member.
        checkpoint: saves the results.
    """

    models: Members
    data: Data
    matcher: Matcher
    spec: SymmetrySpec
    traced: TracedNetwork
    reference: int | None
    reading: Reading
    scales: bool
    checkpoint: NoCheckpoint

    @property
    def joint(self) -> bool:
        """Whether all members are solved at once, from the moments of all pairs."""
        return isinstance(self.matcher, JointMatcher) or (
            self.reference is None and not isinstance(self.matcher, StateMatcher)
        )

    def pair(self, first: nn.Module, i: int, k: int, every: bool = False) -> AlignmentProblem:
        """The problem of members i (in memory, the reference) and k."""
        return build_problem(
            [first, self.models[k]],
            self.data,
            dataclasses.replace(self.reading, every=every),
            spec=self.spec,
            reference=0,
            traced=self.traced,
            numbers=[i, k],
            scales=self.scales,
            checkpoint=self.checkpoint.part(f"pair-{i}-{k}"),
        )


def align_on_disk(
    models: Members,
    data: Data,
    matcher: Matcher,
    reading: Reading,
    *,
    spec: SymmetrySpec | None,
    reference: int | None,
    traced: TracedNetwork | None,
    checkpoint: NoCheckpoint,
) -> Alignment:
    """`onefold.align` for members on disk; it raises the same errors."""
    check_networks(models)
    check_reference(reference, len(models))
    start = time.perf_counter()
    first = models[reference or 0]
    traced = traced or trace_on(first, data)
    spec = spec or solve(traced)
    check_spec(spec, traced)
    if reading.moves:
        check_movable(spec, type(first).__name__)
    seconds = {"trace": time.perf_counter() - start}
    may_fold = matcher.covariances and any(group.folded for group in spec.groups)
    scales = may_fold and all(fold_all([model.state_dict()], spec) is not None for model in models)
    job = Job(models, data, matcher, spec, traced, reference, reading, scales, checkpoint)
    start = time.perf_counter()
    if job.joint:
        problem = _all_pairs(job)
        seconds["statistics"] = time.perf_counter() - start
        start = time.perf_counter()
        solution = solve_groups(problem, matcher, checkpoint.part("all"))
    elif isinstance(matcher, StateMatcher) and reference is None:
        states = tuple(model.state_dict() for model in models)
        problem = dataclasses.replace(_all_pairs(job), states=states)
        seconds["statistics"] = time.perf_counter() - start
        start = time.perf_counter()
        solution = solve_groups(problem, matcher, checkpoint)
    else:
        problem, solution, spent = _against_reference(job, first)
        return assemble(problem, solution, matcher, seconds | spent)
    return assemble(problem, solution, matcher, seconds | {"solve": time.perf_counter() - start})


def one_by_one(
    members: int,
    reference: int,
    measure: Callable[[int], AlignmentProblem],
    solve: Callable[[AlignmentProblem, int], Solution],
) -> Solution:
    """Every member solved against the reference by itself.

    Args:
        members: K.
        reference: the number of the reference.
        measure: a function of a member's number that returns the problem of the reference (number
            0 in it) and the member (number 1).
        solve: a function of that problem and the member's number that returns the solution.
    """
    parts: dict[int, Solution] = {}
    for k in track([k for k in range(members) if k != reference], "members", members - 1):
        pair = solve(measure(k), k)
        parts[k] = only(pair, [1])
        if reference not in parts:
            parts[reference] = only(pair, [0])
    return joined([parts[k] for k in range(members)])


def _against_reference(
    job: Job, first: nn.Module
) -> tuple[AlignmentProblem, Solution, dict[str, float]]:
    """The members' solution, the problem without its moments, and the seconds of each phase."""
    assert job.reference is not None
    r = job.reference
    spent = {"statistics": 0.0, "solve": 0.0}
    common: AlignmentProblem | None = None

    def measure(k: int) -> AlignmentProblem:
        nonlocal common
        start = time.perf_counter()
        pair = job.pair(first, r, k)
        spent["statistics"] += time.perf_counter() - start
        numbers = max(pair.statistics.numbers, common.statistics.before if common else 0)
        facts = Statistics({}, pair.statistics.examples, numbers)
        common = dataclasses.replace(
            pair, members=len(job.models), reference=r, statistics=facts, states=()
        )
        return pair

    def solve(pair: AlignmentProblem, k: int) -> Solution:
        start = time.perf_counter()
        solution = solve_groups(pair, job.matcher, job.checkpoint.part(f"pair-{r}-{k}"))
        spent["solve"] += time.perf_counter() - start
        return solution

    solution = one_by_one(len(job.models), r, measure, solve)
    assert common is not None
    return common, solution, spent


def _all_pairs(job: Job) -> AlignmentProblem:
    """The moments of all members and, for a matcher that reads features, of all pairs.

    They are bit-identical to those of one pass of all members.
    """
    count, reads = len(job.models), not isinstance(job.matcher, StateMatcher)
    every = list(combinations(range(count), 2)) if reads else [(0, k) for k in range(1, count)]
    whole: Statistics | None = None
    problem: AlignmentProblem | None = None
    for i, k in track(every, "pairs of members", len(every)):
        problem = job.pair(job.models[i], i, k, every=True)
        whole = whole or _widened(problem.statistics, count, job.reference)
        for name, moments in problem.statistics.groups.items():
            whole.groups[name].copy_from(moments, (i, k))
        problem = dataclasses.replace(problem, statistics=Statistics(), states=())
    assert whole is not None
    assert problem is not None
    return dataclasses.replace(problem, members=count, reference=job.reference, statistics=whole)


def _widened(pair: Statistics, members: int, reference: int | None) -> Statistics:
    """Empty moments of all members, with the groups and settings of those of two, `pair`."""
    groups = {
        name: Moments(
            members, m.width, reference, full=m.full, every=True, sites=m.sites, device=m.device
        )
        for name, m in pair.groups.items()
    }
    return Statistics(groups, pair.examples)
