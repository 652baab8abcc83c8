"""Targets of recurrent cells: the members' own gates and states in the reference's basis.

They are combined as for other layers (`targets.py`). A member's unit counts with the member's
weight times its correlation with the reference's unit, or fully or not at all if units are
selected. All gates of a unit count alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.alignment import Alignment
from onefold.fold.least_squares.outputs import Calibration
from onefold.fold.least_squares.recurrent import Cell, CellTarget, RecurrentSite, gates_of
from onefold.fold.least_squares.selection import UnitSelection
from onefold.fold.least_squares.targets import correlations
from onefold.progress import track
from onefold.symmetry import SymmetrySpec, TracedNetwork, map_features
from onefold.symmetry.axes import Axes, Fixed, Live, live_groups
from onefold.symmetry.probing import spread

_SEED = 32452843


@dataclass(frozen=True)
class Steps:
    """The sampled steps of a recurrent operator.

    Attributes:
        at: of every batch the sampled positions in (examples x time).
        held: of every batch how many of the last of them belong to held-out examples.
    """

    at: list[Tensor]
    held: list[int]


def recurrent_targets(
    traced: TracedNetwork,
    spec: SymmetrySpec,
    states: Sequence[Mapping[str, Tensor]],
    alignment: Alignment | None,
    sites: Sequence[RecurrentSite],
    calibration: Calibration,
    shares: Sequence[float],
    reference: int,
    kind: str,
    selections: Mapping[str, UnitSelection],
) -> tuple[list[dict[Cell, CellTarget]], list[Steps]]:
    """The targets of the cells of every site, and the sampled steps of every site.

    One member runs at a time.

    Args:
        traced: the traced network.
        spec: its symmetries.
        states: the members' own state dicts.
        alignment: the maps into the common basis; None for members that were left as they are.
        sites: the recurrent operators.
        calibration: the batches and the sampled rows.
        shares: the members' weights, which sum to 1.
        reference: the reference's number.
        kind: the target, a name of TARGETS.
        selections: group -> the units that pruning keeps.
    """
    steps = [Steps([], []) for _ in sites]
    order = [reference, *(k for k in range(len(states)) if k != reference)]
    reference_rows: list[dict[Cell, CellTarget]] = []
    targets: list[dict[Cell, CellTarget]] = [{} for _ in sites]
    for k in order:
        rows = _read(traced, states[k], sites, calibration, steps, k)
        mapped_rows = [
            {cell: _mapped(cell, target, spec, alignment, k) for cell, target in cells.items()}
            for cells in rows
        ]
        reference_rows = reference_rows or mapped_rows
        for total, cells, firsts in zip(targets, mapped_rows, reference_rows, strict=True):
            for cell, target in cells.items():
                units, gates = _weights(
                    cell, target, firsts[cell], spec, selections, shares[k], k, k == reference, kind
                )
                parts = (
                    (target.inputs, firsts[cell].inputs, gates),
                    (target.hidden, firsts[cell].hidden, gates),
                    (target.before, firsts[cell].before, units),
                )
                whole = k == reference or _group(cell, spec) in selections
                terms = [w * (value if whole else value - base) for value, base, w in parts]
                if cell in total:
                    sums = _parts(total[cell])
                    terms = [a + b for a, b in zip(sums, terms, strict=True)]
                total[cell] = CellTarget(*terms)
    return targets, steps


def _parts(target: CellTarget) -> tuple[Tensor, Tensor, Tensor]:
    return target.inputs, target.hidden, target.before


def _read(
    traced: TracedNetwork,
    state: Mapping[str, Tensor],
    sites: Sequence[RecurrentSite],
    calibration: Calibration,
    steps: Sequence[Steps],
    member: int,
) -> list[dict[Cell, CellTarget]]:
    """One member's gates and states at the sampled steps.

    The first member that runs draws the steps.
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
            cell: CellTarget(*(torch.cat(parts) for parts in zip(*rows, strict=True)))
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
    cell: Cell, target: CellTarget, spec: SymmetrySpec, alignment: Alignment | None, member: int
) -> CellTarget:
    """The member's rows in the reference's basis."""
    if alignment is None:
        return target
    rows = Fixed("sampled steps", len(target.before))

    def on(value: Tensor, axes: Axes) -> Tensor:
        names = [
            name
            for term in axes
            for name in dict.fromkeys(live_groups(term))
            if name in alignment.maps
        ]
        if not names:
            return value
        maps = {name: alignment.maps[name][member] for name in names}
        return map_features(value, axes, spec, maps)

    gates, units = spec.axes[cell.inputs][0], spec.axes[cell.hidden][1]
    return CellTarget(
        on(target.inputs, (rows, gates)),
        on(target.hidden, (rows, gates)),
        on(target.before, (rows, units)),
    )


def _group(cell: Cell, spec: SymmetrySpec) -> str:
    """The group of the cell's units; empty if they stay in place."""
    units = spec.axes[cell.hidden][1]
    return units.group if isinstance(units, Live) else ""


def _weights(
    cell: Cell,
    target: CellTarget,
    first: CellTarget,
    spec: SymmetrySpec,
    selections: Mapping[str, UnitSelection],
    share: float,
    member: int,
    leads: bool,
    kind: str,
) -> tuple[Tensor, Tensor]:
    """The weights of one member's units, and of the rows of its gates."""
    name, size = _group(cell, spec), target.before.shape[1]
    if name in selections:
        units = selections[name].owned(member)
    elif leads:
        units = torch.ones(size, dtype=torch.float64)
    elif not name or kind == "equal":
        units = torch.full((size,), share, dtype=torch.float64)
    else:
        units = share * correlations(first.before, target.before).clamp_min(0.0).cpu()
    gates = (
        spread(spec.axes[cell.inputs][0], {name: units}, share)
        if name
        else units.repeat(target.inputs.shape[1] // size)
    )
    return units.to(target.before), gates.to(target.inputs)
