"""Align members that stay on disk: two of them are in memory at a time.

With a reference r each other member k is read, run beside r over the data, solved, and forgotten
but for its maps: the moments of one pair are there at a time, 3 C^2 numbers for each probe. Where
all members are solved at once (joint matchers, a common basis) the moments of all pairs are
problem pair after pair, K (K - 1) / 2 of them, and checkpoint: K (K + 1) / 2 C^2 numbers.

Every number is the same as if all members had run in lockstep, bit for bit. The price is that the
reference runs K - 1 times instead of once (each member K - 1 times where all pairs are needed), and
that the data are read as often.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from torch import nn

from onefold.alignment.alignment import Alignment
from onefold.alignment.assemble import alignment_of, solve_members
from onefold.alignment.checkpoint import NoCheckpoint
from onefold.alignment.checks import check_networks
from onefold.alignment.matchers import JointMatcher, Matcher, StateMatcher
from onefold.alignment.matchers.identity import Identity
from onefold.alignment.moments import Moments
from onefold.alignment.problem import (
    AlignmentProblem,
    build_problem,
    check_positions,
    check_reference,
    fold_all,
)
from onefold.alignment.results import Solution, joined
from onefold.alignment.statistics import Statistics
from onefold.alignment.structure import check_movable, trace_on
from onefold.batches import Data
from onefold.errors import AlignmentError
from onefold.progress import track
from onefold.sources import Members
from onefold.symmetry import SymmetrySpec, TracedNetwork, solve


@dataclasses.dataclass
class Job:
    """What is to be done, as `onefold.align` was asked for it. scales: whether the scales of norms
    can be folded in every member.
    """

    models: Members
    data: Data
    matcher: Matcher
    spec: SymmetrySpec
    traced: TracedNetwork
    reference: int | None
    probe: str
    max_positions: int | None
    targets: bool
    seed: int
    scales: bool
    checkpoint: NoCheckpoint

    @property
    def joint(self) -> bool:
        """Whether all members are solved at once, from the moments of all pairs."""
        return isinstance(self.matcher, JointMatcher) or (
            self.reference is None and not isinstance(self.matcher, StateMatcher)
        )

    def pair(self, first: nn.Module, i: int, k: int, every: bool = False) -> AlignmentProblem:
        """The moments of members i (at hand) and k; i is the reference."""
        return build_problem(
            [first, self.models[k]],
            self.data,
            spec=self.spec,
            reference=0,
            probe=self.probe,
            full=self.matcher.covariances,
            every=every,
            read=not isinstance(self.matcher, StateMatcher),
            max_positions=self.max_positions,
            targets=self.targets,
            seed=self.seed,
            traced=self.traced,
            numbers=[i, k],
            scales=self.scales,
            checkpoint=self.checkpoint.part(f"pair-{i}-{k}"),
        )


def align_streamed(
    models: Members,
    data: Data,
    matcher: Matcher,
    *,
    spec: SymmetrySpec | None,
    reference: int | None,
    probe: str,
    max_positions: int | None,
    targets: bool,
    seed: int,
    traced: TracedNetwork | None,
    checkpoint: NoCheckpoint,
) -> Alignment:
    """As `onefold.align`, whose arguments these are, for members on disk.

    Raises the same errors.
    """
    check_networks(models)
    check_reference(reference, len(models))
    check_positions(max_positions)
    start = time.perf_counter()
    first = models[reference or 0]
    traced = traced or trace_on(first, data)
    spec = spec or solve(traced)
    if spec.fingerprint != traced.fingerprint:
        raise AlignmentError(
            "The symmetry spec was found for another architecture than these networks; run"
            " find_symmetries on one of them."
        )
    if not isinstance(matcher, Identity):
        check_movable(spec, type(first).__name__)
    seconds = {"trace": time.perf_counter() - start}
    may_fold = matcher.covariances and any(group.folded for group in spec.groups)
    scales = may_fold and all(fold_all([model.state_dict()], spec) is not None for model in models)
    job = Job(
        models,
        data,
        matcher,
        spec,
        traced,
        reference,
        probe,
        max_positions,
        targets,
        seed,
        scales,
        checkpoint,
    )
    start = time.perf_counter()
    if job.joint:
        problem = _all_pairs(job)
        seconds["statistics"] = time.perf_counter() - start
        start = time.perf_counter()
        solution = solve_members(problem, matcher, checkpoint.part("all"))
    elif isinstance(matcher, StateMatcher) and reference is None:
        problem = dataclasses.replace(
            _all_pairs(job), states=tuple(model.state_dict() for model in models)
        )
        seconds["statistics"] = time.perf_counter() - start
        start = time.perf_counter()
        solution = solve_members(problem, matcher, checkpoint)
    else:
        problem, solution = _against_reference(job, first, seconds)
        start = time.perf_counter() - seconds.pop("solve")
    return alignment_of(
        problem, solution, matcher, seconds | {"solve": time.perf_counter() - start}
    )


def one_by_one(
    members: int,
    reference: int,
    measure: Callable[[int], AlignmentProblem],
    solve: Callable[[AlignmentProblem, int], Solution],
) -> Solution:
    """Every member solved against the reference by itself. measure: what is problem of the
    reference, number 0, and a member, number 1.
    """
    parts: dict[int, Solution] = {}
    for k in track([k for k in range(members) if k != reference], "members", members - 1):
        pair = solve(measure(k), k)
        parts[k] = pair.only([1])
        if reference not in parts:
            parts[reference] = pair.only([0])
    return joined([parts[k] for k in range(members)])


def _against_reference(
    job: Job, first: nn.Module, seconds: dict[str, float]
) -> tuple[AlignmentProblem, Solution]:
    """The members' solution, and what they have in common beside it."""
    assert job.reference is not None
    r = job.reference
    last: list[AlignmentProblem] = []
    seconds |= {"statistics": 0.0, "solve": 0.0}

    def measure(k: int) -> AlignmentProblem:
        start = time.perf_counter()
        found = job.pair(first, r, k)
        seconds["statistics"] += time.perf_counter() - start
        numbers = max([found.statistics.numbers, *(one.statistics.before for one in last)])
        facts = Statistics({}, {}, found.statistics.examples, numbers)
        last[:] = [
            dataclasses.replace(
                found, members=len(job.models), reference=r, statistics=facts, states=()
            )
        ]
        return found

    def solve(pair: AlignmentProblem, k: int) -> Solution:
        start = time.perf_counter()
        found = solve_members(pair, job.matcher, job.checkpoint.part(f"pair-{r}-{k}"))
        seconds["solve"] += time.perf_counter() - start
        return found

    solution = one_by_one(len(job.models), r, measure, solve)
    return last[0], solution


def _all_pairs(job: Job) -> AlignmentProblem:
    """The moments of all members and, for a matcher that reads features, of all pairs, as one pass
    would have given them.
    """
    count, reads = len(job.models), not isinstance(job.matcher, StateMatcher)
    every = list(combinations(range(count), 2)) if reads else [(0, k) for k in range(1, count)]
    whole: Statistics | None = None
    problem: AlignmentProblem | None = None
    for i, k in track(every, "pairs of members", len(every)):
        first = job.models[i]
        problem = job.pair(first, i, k, every=True)
        whole = whole or _widened(problem.statistics, count, job.reference)
        _place(whole, problem.statistics, (i, k))
        problem = dataclasses.replace(problem, statistics=Statistics({}, {}), states=())
    assert whole is not None
    assert problem is not None
    return dataclasses.replace(
        problem, members=count, reference=job.reference, statistics=whole, seed=job.seed
    )


def _widened(pair: Statistics, members: int, reference: int | None) -> Statistics:
    """Room for the moments of all members where there are those of two."""
    groups = {
        name: Moments(
            members, m.width, reference, full=m.full, every=True, sites=m.sites, device=m.device
        )
        for name, m in pair.groups.items()
    }
    layers = {}
    for node, m in pair.layers.items():
        name = _group_of(pair, m)
        layers[node] = (
            groups[name]
            if name is not None
            else Moments(members, m.width, None, full=m.full, sites=m.sites, device=m.device)
        )
    return Statistics(groups, layers, pair.examples)


def _place(whole: Statistics, pair: Statistics, members: Sequence[int]) -> None:
    parts: Mapping[int, tuple[Moments, Moments]] = {
        id(m): (m, whole.groups[name]) for name, m in pair.groups.items()
    } | {id(m): (m, whole.layers[node]) for node, m in pair.layers.items()}
    for part, own in parts.values():
        own.place(part, members)


def _group_of(statistics: Statistics, moments: Moments) -> str | None:
    """The group whose moments a layer's output shares."""
    return next((name for name, m in statistics.groups.items() if m is moments), None)
