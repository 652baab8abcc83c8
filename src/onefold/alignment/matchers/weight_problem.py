"""The problem of weight matching for one member: its objective, its best steps and their descent.

The objective and the step are given in `weight_matching`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from onefold.alignment.layout import Layout
from onefold.symmetry import GroupMap, SymmetrySpec
from onefold.symmetry.action import mapped_tensors
from onefold.symmetry.axes import Group
from onefold.symmetry.probing import all_fibre_features, features

State = Mapping[str, Tensor]
Maps = dict[str, GroupMap]
GAIN = 1e-9  # of the greatest sum there can be: less is rounding


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
        """The group and the groups over it."""
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

    @cached_property
    def greatest(self) -> float:
        """The greatest sum there can be: sum_t w_t |A_rt| |A_kt|, by Cauchy and Schwarz."""
        return sum(
            w * float(self.reference[n].norm() * self.state[n].norm())
            for n, w in self.weights.items()
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
        if gain <= GAIN * self.greatest:
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
