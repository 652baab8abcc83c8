"""Permutation by weights: the order of units in which weights agree best with the reference's.

It needs no data.

    max over permutations of all groups of  sum over tensors t  w_t <A_rt, A_kt permuted>
    w_t = 1, or if `balanced` 1 / (|A_rt| |A_kt|)

Coordinate descent: with all other groups as they are, the sum is linear in the permutation p of one
group,

    sum_i G_(i, p(i))

G (C, C) adds up the inner products of all slices of all tensors that hold the group. This step is
solved exactly by scipy.optimize.linear_sum_assignment. Groups are visited in random order until
none gains. The best of several such descents is taken (`starts`; ours). If the group occurs on two
axes of one tensor, the step solves the linear part and is taken only if the sum itself grows. Heads
and the units of each head move in one step: every head is matched with every other, and the heads
are paired by the values of these matches.

As published, w_t = 1, and a batch norm's scale and shift are tensors beside the weights before it,
although the scale of these weights has no effect then. Ours are `norms="folded"`, with which norms
act on their layers as they do in the network, and `balanced`, which prevents one large layer from
deciding for all. On ResNet-20 on CIFAR-10 the published choices are better, so they are the
defaults (docs/evidence/git_rebasin_and_transport.md).

Ainsworth, Hayase & Srinivasa 2023, "Git Re-Basin: Merging Models modulo Permutation Symmetries",
section 3.2 and algorithm 3 for a common basis of many members (arXiv 2209.04836).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.alignment.layout import layouts
from onefold.alignment.matchers.base import Match, StateMatcher, feature_matchers
from onefold.alignment.matchers.weight_problem import Problem, State, descend
from onefold.batchnorm import fold_norms
from onefold.errors import AlignmentError, nearest
from onefold.symmetry import GroupMap, SymmetrySpec
from onefold.symmetry.axes import Group
from onefold.symmetry.probing import all_fibre_features, features

STATISTICS = frozenset({"mean", "variance"})
NORMS = ("apart", "folded")


@feature_matchers.register("weights")
@dataclass(frozen=True)
class WeightMatching(StateMatcher):
    """Permutations from the weights alone (Git Re-Basin), without data.

    They leave every member's function unchanged.

    Attributes:
        balanced: divide each tensor's part of the sum by the tensor's norms.
        norms: whether batch norms count "apart" from the layers before them or "folded" into them.
        starts: descents with other orders of the groups, of which the best is taken; a common
            basis without a reference takes one.
        sweeps: at most so many passes over all groups in each descent.
    """

    balanced: bool = False
    norms: str = "apart"
    starts: int = 3
    sweeps: int = 100

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            AlignmentError: a number is below 1, or `norms` is unknown.
        """
        super().__post_init__()
        for name, value in (("starts", self.starts), ("sweeps", self.sweeps)):
            if value < 1:
                raise AlignmentError(
                    f"Weight matching was given {value} {name}; it needs at least 1."
                )
        if self.norms not in NORMS:
            raise AlignmentError(
                f"Weight matching cannot take norms '{self.norms}'; {nearest(self.norms, NORMS)}"
            )

    def problem(self, spec: SymmetrySpec, reference: State, member: State) -> Problem:
        """The problem of `descend`, from states whose norms are folded already if they shall be."""
        counted = _counted(spec, self.norms == "folded")
        ours = {name: _wide(reference[name]) for name in counted}
        theirs = {name: _wide(member[name]) for name in spec.axes}
        norms = {name: float(ours[name].norm() * theirs[name].norm()) for name in counted}
        weights = {
            name: 1.0 / norm if self.balanced else 1.0 for name, norm in norms.items() if norm > 0
        }
        return Problem(spec, ours, theirs, layouts(spec), weights)

    def match_states(
        self, spec: SymmetrySpec, states: Sequence[State], reference: int | None, seed: int
    ) -> dict[str, tuple[Match, ...]]:
        """Group -> a permutation for each member, to the reference or into a common basis."""
        taken = states
        if self.norms == "folded":
            taken = [fold_norms(state, spec.layers) for state in states]
        if reference is None:
            solved = self._common(spec, taken, seed)
        else:
            solved = {
                k: self._to(spec, taken[reference], taken[k], seed)
                for k in range(len(states))
                if k != reference
            }
        found: dict[str, tuple[Match, ...]] = {}
        for group in spec.groups:
            width = len(next(iter(solved.values()))[group.name].scores)
            still = Match(GroupMap.identity(group.size), torch.ones(width, dtype=torch.float64))
            found[group.name] = tuple(
                solved[k][group.name] if k in solved else still for k in range(len(states))
            )
        return found

    def _to(
        self, spec: SymmetrySpec, reference: State, member: State, seed: int
    ) -> dict[str, Match]:
        problem = self.problem(spec, reference, member)
        tries = [problem.again() for _ in range(self.starts)]
        reached = [descend(p, seed + start, self.sweeps)[-1] for start, p in enumerate(tries)]
        return _matches(tries[reached.index(max(reached))])

    def _common(
        self, spec: SymmetrySpec, states: Sequence[State], seed: int, rounds: int = 20
    ) -> dict[int, dict[str, Match]]:
        """Match each member in turn to the mean of the others, until none moves.

        The order of turns depends on the members' values alone.
        """
        problems = [self.problem(spec, state, state) for state in states]
        size = [
            sum(float(t.abs().square().sum()) for t in problem.reference.values())
            for problem in problems
        ]
        order = sorted(range(len(states)), key=lambda k: size[k])
        placed = [order[0]]
        for turn in range(rounds):
            moved = False
            for k in order[1:] if turn == 0 else order:
                others = [j for j in placed if j != k]
                mean = {
                    n: torch.stack([problems[j].state[n] for j in others]).mean(0)
                    for n in problems[k].reference
                }
                aimed = self.problem(spec, mean, problems[k].state)
                aimed.maps = problems[k].maps
                moved |= len(descend(aimed, seed, self.sweeps)) > 1
                problems[k] = aimed
                placed = sorted({*placed, k}, key=order.index)
            if not moved:
                break
        return {k: _matches(problem) for k, problem in enumerate(problems)}


def _wide(tensor: Tensor) -> Tensor:
    """On the CPU, in float64 or complex128."""
    return tensor.detach().to("cpu", torch.complex128 if tensor.is_complex() else torch.float64)


def _counted(spec: SymmetrySpec, folded: bool) -> list[str]:
    """The tensors that count: those that hold a group, once each if they are tied.

    Running statistics of norms do not count, except the means of folded norms, which are constants
    of their layers.
    """
    roles: dict[str, set[str]] = {}
    for group in spec.groups:
        for slot in group.slots:
            roles.setdefault(slot.tensor, set()).add(slot.role)
    norms = [layer.norm for layer in spec.layers if layer.norm is not None]
    running = {norm.variance for norm in norms}
    if not folded:
        running |= {norm.mean for norm in norms}
    return [
        name
        for name in spec.axes
        if name in roles and not (roles[name] <= STATISTICS and name in running)
    ]


def _matches(problem: Problem) -> dict[str, Match]:
    """The maps so far as matches.

    The score of a unit is the cosine of all of its weights with those of its counterpart.
    """
    matches = {}
    for group in problem.spec.groups:
        layout = problem.layout[group.name]
        shape = (layout.fibres, group.size) if layout.apart else (group.size,)
        identity = GroupMap("permutation", torch.arange(group.size).expand(shape))
        group_map = problem.maps.get(group.name, identity)
        matches[group.name] = Match(group_map, _cosines(problem, group))
    return matches


def _cosines(problem: Problem, group: Group) -> Tensor:
    """(fibres x C,), the cosines of the units in their present order."""
    apart = problem.layout[group.name].apart
    total = torch.zeros(3, 1, group.size, dtype=torch.float64)
    for name in problem.holding(group):
        axes, weight = problem.spec.axes[name], problem.weights[name]
        pieces = [
            list(all_fibre_features(t, axes, group)) if apart else [features(t, axes, group)[None]]
            for t in (problem.reference[name], problem.state[name])
        ]
        for ours, theirs in zip(*pieces, strict=True):
            products = (ours.conj() * theirs).real.sum(-2)
            squares = [t.abs().square().sum(-2) for t in (ours, theirs)]
            total = total + weight * torch.stack([products, *squares])
    return (total[0] / (total[1] * total[2]).clamp_min(1e-300).sqrt()).reshape(-1)
