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
deciding for all. On ResNet-20 on CIFAR-10 the published choices are better (docs/benchmarks.md), so
they are the defaults.

Ainsworth, Hayase & Srinivasa 2023, "Git Re-Basin: Merging Models modulo Permutation Symmetries",
section 3.2 and algorithm 3 for a common basis of many members (arXiv 2209.04836).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from onefold.alignment.layout import Layout, layouts
from onefold.alignment.matchers.base import Match, StateMatcher, matchers
from onefold.batchnorm import fold_norms
from onefold.errors import AlignmentError, nearest
from onefold.symmetry import GroupMap, SymmetrySpec
from onefold.symmetry.action import mapped_tensors
from onefold.symmetry.axes import Group
from onefold.symmetry.probing import all_fibre_features, features

State = Mapping[str, Tensor]
Maps = dict[str, GroupMap]
GAIN = 1e-9  # of the greatest sum there can be: less is rounding
STATISTICS = frozenset({"mean", "variance"})
NORMS = ("apart", "folded")


@dataclass(frozen=True)
class Unit:
    """The groups that one step moves.

    Attributes:
        group: a group, or an index (heads).
        fibres: the groups whose fibres the index numbers; () if the group is no index.
    """

    group: Group
    fibres: tuple[Group, ...] = ()

    @property
    def groups(self) -> tuple[Group, ...]:
        """All of them."""
        return (self.group, *self.fibres)


@dataclass
class Problem:
    """A reference and a member as float64 tensors, and the sum that is maximised.

    Attributes:
        spec: the symmetries of the networks.
        reference: the weights of the reference.
        state: the member's weights with all maps so far.
        layout: the layout of every group, by name.
        weights: the tensors that count -> w_t.
        maps: the maps so far, by group.
    """

    spec: SymmetrySpec
    reference: State
    state: dict[str, Tensor]
    layout: Mapping[str, Layout]
    weights: Mapping[str, float]
    maps: Maps = field(default_factory=dict)

    def objective(self, names: Sequence[str] | None = None, state: State | None = None) -> float:
        """The sum over some tensors.

        Args:
            names: the tensors; None: all.
            state: replaces those of the member's tensors that it holds; None: none.
        """
        changed = self.state if state is None else state
        return sum(
            w * float((self.reference[n].conj() * changed.get(n, self.state[n])).sum().real)
            for n, w in self.weights.items()
            if names is None or n in names
        )

    def holding(self, group: Group) -> list[str]:
        """The tensors that count and hold the group."""
        return [n for n in dict.fromkeys(slot.tensor for slot in group.slots) if n in self.weights]

    def gram(self, group: Group) -> Tensor:
        """(C, C): the value of matching unit i of the reference with unit j of the member."""
        total = torch.zeros(group.size, group.size, dtype=torch.float64)
        for name in self.holding(group):
            total += self._gram_of(name, group)
        return total

    def _gram_of(self, name: str, group: Group) -> Tensor:
        """(C, C): the part of `gram` that one tensor adds."""
        axes = self.spec.axes[name]
        ours = features(self.reference[name], axes, group)
        theirs = features(self.state[name], axes, group)
        return self.weights[name] * (ours.mH @ theirs).real

    def fibred_gram(self, group: Group) -> Tensor:
        """(F, F, C, C): `gram` for each fibre f of the reference and fibre g of the member."""
        count = self.layout[group.name].fibres
        total = torch.zeros(count, count, group.size, group.size, dtype=torch.float64)
        for name in self.holding(group):
            axes = self.spec.axes[name]
            pairs = zip(
                all_fibre_features(self.reference[name], axes, group),
                all_fibre_features(self.state[name], axes, group),
                strict=True,
            )
            for ours, theirs in pairs:
                products = torch.einsum("fnc,gnd->fgcd", ours.conj(), theirs).real
                total += self.weights[name] * products
        return total

    def again(self) -> Problem:
        """The same problem for another descent, which leaves this one as it is."""
        return dataclasses.replace(self, state=dict(self.state), maps=dict(self.maps))

    def step(self, unit: Unit) -> float:
        """The best move of one unit, carried out if it gains.

        Returns:
            The gain; 0 if there is none.
        """
        move = self._indexed(unit) if unit.fibres else self._single(unit.group)
        orders = [group_map.forward for group_map in move.values()]
        if all(bool((order == torch.arange(order.shape[-1])).all()) for order in orders):
            return 0.0
        changed = mapped_tensors(self.state, self.spec, move)
        names = [name for name in changed if name in self.weights]
        gain = self.objective(names, changed) - self.objective(names)
        if gain <= GAIN * len(self.weights):
            return 0.0
        self.state.update(changed)
        self._record(unit, move)
        return gain

    def _single(self, group: Group) -> Maps:
        if not self.layout[group.name].apart:
            return {group.name: GroupMap("permutation", _assigned(self.gram(group))[0])}
        values = self.fibred_gram(group)  # fibres stay in their places: only f = g is read
        orders = torch.stack([_assigned(values[f, f])[0] for f in range(len(values))])
        return {group.name: GroupMap("permutation", orders)}

    def _indexed(self, unit: Unit) -> Maps:
        index, count = unit.group, unit.group.size
        among = {name for group in unit.fibres for name in self.holding(group)}
        value = torch.zeros(count, count, dtype=torch.float64)
        for name in self.holding(index):
            if name not in among:
                value += self._gram_of(name, index)
        inner: dict[str, list[list[Tensor]]] = {}
        for group in unit.fibres:
            solved = [[_assigned(block) for block in row] for row in self.fibred_gram(group)]
            values = [[worth for _, worth in row] for row in solved]
            value += torch.tensor(values, dtype=torch.float64)
            inner[group.name] = [[order for order, _ in row] for row in solved]
        order = _assigned(value)[0]
        position = torch.argsort(order)  # of the member's fibres: maps are numbered by these
        moves = {
            name: torch.stack([orders[int(position[f])][f] for f in range(count)])
            for name, orders in inner.items()
        }
        return {
            index.name: GroupMap("permutation", order),
            **{name: GroupMap("permutation", move) for name, move in moves.items()},
        }

    def _record(self, unit: Unit, move: Maps) -> None:
        """Compose the maps so far with the move.

        Fibres of the move are numbered by their present positions, those of the maps by the
        member's original positions.
        """
        index = self.maps.get(unit.group.name)
        for group in unit.fibres:
            new = move[group.name].forward
            self._append(group.name, new if index is None else new[torch.argsort(index.forward)])
        self._append(unit.group.name, move[unit.group.name].forward)

    def _append(self, name: str, forward: Tensor) -> None:
        new, old = GroupMap("permutation", forward), self.maps.get(name)
        self.maps[name] = new if old is None else old.then(new)


def descend(problem: Problem, seed: int, sweeps: int = 100) -> list[float]:
    """Sweep over all units in random order until none gains.

    Args:
        problem: it is changed in place.
        seed: of the order.
        sweeps: at most so many.

    Returns:
        The objective at the start and after every step that gained.
    """
    generator = torch.Generator().manual_seed(seed)
    units = list(_units(problem))
    history = [problem.objective()]
    for _ in range(sweeps):
        gains = [
            problem.step(units[k]) for k in torch.randperm(len(units), generator=generator).tolist()
        ]
        for gain in gains:
            if gain > 0:
                history.append(history[-1] + gain)
        if not any(gains):
            break
    return history


@matchers.register("weights")
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
        reached = [descend(own, seed + start, self.sweeps)[-1] for start, own in enumerate(tries)]
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


def _units(problem: Problem) -> Iterator[Unit]:
    """The groups that are moved together; groups that take no permutation stay."""
    groups = {group.name: group for group in problem.spec.groups if "permutation" in group.maps}
    over: dict[str, list[Group]] = {}
    for name, group in groups.items():
        index = problem.layout[name].index
        if problem.layout[name].apart and index in groups:
            over.setdefault(str(index), []).append(group)
    inside = {group.name for members in over.values() for group in members}
    for name, group in groups.items():
        if name in inside:
            continue
        if name in over or any(problem.holding(group)):
            yield Unit(group, tuple(over.get(name, ())))


def _assigned(values: Tensor) -> tuple[Tensor, float]:
    """The best assignment of columns to rows, and its value."""
    rows, columns = linear_sum_assignment(values.numpy(), maximize=True)
    return torch.as_tensor(columns, dtype=torch.int64), float(values[rows, columns].sum())


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
    total = torch.zeros(3, 1, group.size, dtype=torch.float64)
    for name in problem.holding(group):
        axes, weight = problem.spec.axes[name], problem.weights[name]
        pieces = [
            (
                list(all_fibre_features(t, axes, group))
                if problem.layout[group.name].apart
                else [features(t, axes, group)[None]]
            )
            for t in (problem.reference[name], problem.state[name])
        ]
        for ours, theirs in zip(*pieces, strict=True):
            total = total + weight * torch.stack(
                [
                    (ours.conj() * theirs).real.sum(-2),
                    ours.abs().square().sum(-2),
                    theirs.abs().square().sum(-2),
                ]
            )
    return (total[0] / (total[1] * total[2]).clamp_min(1e-300).sqrt()).reshape(-1)
