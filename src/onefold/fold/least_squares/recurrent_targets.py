"""What the gates of recurrent layers shall put out, and from which states: the members' own, in the
reference's basis, made to one.

As for other layers (see `targets.py`): a member's unit counts with the member's weight times its
correlation with the reference's, or all or nothing where units are picked; all gates of a unit
count alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.alignment import Alignment
from onefold.fold.least_squares.outputs import Calibration
from onefold.fold.least_squares.recurrent import Cell, CellGoal, RecurrentSite, gates_of
from onefold.fold.least_squares.selection import Picks
from onefold.fold.least_squares.targets import correlations
from onefold.progress import track
from onefold.symmetry import SymmetrySpec, TracedNetwork, map_features
from onefold.symmetry.axes import Axes, Fixed, Live, live_groups
from onefold.symmetry.probing import spread

_SEED = 32452843


@dataclass(frozen=True)
class Steps:
    """Of every batch the sampled positions in (examples x time), and how many of the last belong to
    examples that are held out.
    """

    at: list[Tensor]
    held: list[int]


def recurrent_aims(
    traced: TracedNetwork,
    spec: SymmetrySpec,
    states: Sequence[Mapping[str, Tensor]],
    alignment: Alignment | None,
    sites: Sequence[RecurrentSite],
    calibration: Calibration,
    shares: Sequence[float],
    reference: int,
    kind: str,
    picks: Mapping[str, Picks],
) -> tuple[list[dict[Cell, CellGoal]], list[Steps]]:
    """For each site the goals of its cells and the steps that were sampled.

    One member runs at a time.
    """
    steps = [Steps([], []) for _ in sites]
    order = [reference, *(k for k in range(len(states)) if k != reference)]
    first: list[dict[Cell, CellGoal]] = []
    goals: list[dict[Cell, CellGoal]] = [{} for _ in sites]
    for k in order:
        rows = _read(traced, states[k], sites, calibration, steps, k)
        own = [
            {cell: _mapped(cell, goal, spec, alignment, k) for cell, goal in cells.items()}
            for cells in rows
        ]
        first = first or own
        for total, cells, firsts in zip(goals, own, first, strict=True):
            for cell, goal in cells.items():
                units, gates = _weights(
                    cell, goal, firsts[cell], spec, picks, shares[k], k, k == reference, kind
                )
                parts = (
                    (goal.inputs, firsts[cell].inputs, gates),
                    (goal.own, firsts[cell].own, gates),
                    (goal.before, firsts[cell].before, units),
                )
                picked = _group(cell, spec) in picks
                made = [
                    w * (value if picked or k == reference else value - base)
                    for value, base, w in parts
                ]
                total[cell] = (
                    CellGoal(*made)
                    if cell not in total
                    else CellGoal(*(a + b for a, b in zip(_parts(total[cell]), made, strict=True)))
                )
    return goals, steps


def _parts(goal: CellGoal) -> tuple[Tensor, Tensor, Tensor]:
    return goal.inputs, goal.own, goal.before


def _read(
    traced: TracedNetwork,
    state: Mapping[str, Tensor],
    sites: Sequence[RecurrentSite],
    calibration: Calibration,
    steps: Sequence[Steps],
    member: int,
) -> list[dict[Cell, CellGoal]]:
    """One member's gates and states at the sampled steps.

    The first member that is run draws the steps.
    """
    found: list[dict[Cell, list[tuple[Tensor, ...]]]] = [
        {cell: [] for cell in site.cells} for site in sites
    ]

    def visitor(batch: int) -> Callable[[str, list[Tensor]], None]:
        read: dict[str, Tensor] = {}

        def visit(node: str, values: list[Tensor]) -> None:
            read[node] = values[0]
            for number, site in enumerate(sites):
                if site.node == node:
                    x = site.sequence(read[site.source])
                    if len(steps[number].at) == batch:
                        _draw(x, steps[number], calibration, batch, number)
                    at = steps[number].at[batch]
                    for cell, seen, h in site.run(x, state):
                        before = cell.before(h).flatten(0, 1)[at]
                        found[number][cell].append(
                            (*gates_of(cell, seen.flatten(0, 1)[at], before, state), before)
                        )

        return visit

    nodes = [name for site in sites for name in (site.source, site.node)]
    for number, batch in enumerate(
        track(calibration.batches, f"recurrent layers of member {member}")
    ):
        traced.replay([state], batch.args, batch.kwargs, visit=visitor(number), nodes=nodes)
    return [
        {
            cell: CellGoal(*(torch.cat(parts) for parts in zip(*rows, strict=True)))
            for cell, rows in cells.items()
        }
        for cells in found
    ]


def _draw(x: Tensor, steps: Steps, calibration: Calibration, batch: int, number: int) -> None:
    examples, time = x.shape[:2]
    per = max(1, calibration.rows // calibration.examples)
    generator = torch.Generator().manual_seed(calibration.seed + _SEED * (number + 1) + batch)
    within = (
        torch.arange(time).expand(examples, time)
        if per >= time
        else torch.randint(time, (examples, per), generator=generator).sort(1).values
    )
    steps.at.append((within + time * torch.arange(examples)[:, None]).reshape(-1).to(x.device))
    steps.held.append(calibration.held_in(batch) * within.shape[1])


def _mapped(
    cell: Cell, goal: CellGoal, spec: SymmetrySpec, alignment: Alignment | None, member: int
) -> CellGoal:
    """The member's rows in the reference's basis."""
    if alignment is None:
        return goal
    rows = Fixed("sampled steps", len(goal.before))

    def on(value: Tensor, axes: Axes) -> Tensor:
        names = [
            name
            for term in axes
            for name in dict.fromkeys(live_groups(term))
            if name in alignment.maps
        ]
        return (
            map_features(value, axes, spec, {name: alignment.maps[name][member] for name in names})
            if names
            else value
        )

    gates, units = spec.axes[cell.inputs][0], spec.axes[cell.own][1]
    return CellGoal(
        on(goal.inputs, (rows, gates)), on(goal.own, (rows, gates)), on(goal.before, (rows, units))
    )


def _group(cell: Cell, spec: SymmetrySpec) -> str:
    """The group of the cell's units; empty where they stay in place."""
    units = spec.axes[cell.own][1]
    return units.group if isinstance(units, Live) else ""


def _weights(
    cell: Cell,
    goal: CellGoal,
    first: CellGoal,
    spec: SymmetrySpec,
    picks: Mapping[str, Picks],
    share: float,
    member: int,
    leads: bool,
    kind: str,
) -> tuple[Tensor, Tensor]:
    """What each unit, and each row of the gates, counts in this member."""
    name, size = _group(cell, spec), goal.before.shape[1]
    if name in picks:
        units = picks[name].owned(member)
    elif leads:
        units = torch.ones(size, dtype=torch.float64)
    elif not name or kind == "equal":
        units = torch.full((size,), share, dtype=torch.float64)
    else:
        units = share * correlations(first.before, goal.before).clamp_min(0.0).cpu()
    gates = (
        spread(spec.axes[cell.inputs][0], {name: units}, share)
        if name
        else units.repeat(goal.inputs.shape[1] // size)
    )
    return units.to(goal.before), gates.to(goal.inputs)
