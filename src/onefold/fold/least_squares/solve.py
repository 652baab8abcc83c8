"""The second pass: the folded network runs once over the calibration data, and at each site its
weights are solved before it goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from onefold.errors import DataError
from onefold.fold.least_squares.layers import Site
from onefold.fold.least_squares.outputs import Calibration
from onefold.fold.least_squares.recurrent import Cell, CellGoal, RecurrentSite, solve_recurrent
from onefold.fold.least_squares.recurrent_targets import Steps
from onefold.fold.least_squares.ridge import Ridge, Solution
from onefold.fold.least_squares.rows import Sample
from onefold.fold.least_squares.weights import effective, has_intercept, write
from onefold.progress import track
from onefold.symmetry import TracedNetwork
from onefold.symmetry.segments import SegmentedRun


@dataclass(frozen=True)
class SolvedLayer:
    """One site: its weights, the rows, the ridge and the prior that were chosen, and the share of
    the target's variance that it explains on held-out rows.
    """

    weights: str
    rows: int
    ridge: float
    prior: str
    explained: float

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)


def solve_sites(
    traced: TracedNetwork,
    state: Mapping[str, Tensor],
    priors: Mapping[str, Mapping[str, Tensor]],
    sites: Sequence[Site],
    calibration: Calibration,
    goals: Sequence[Tensor],
    samples: Sequence[Sequence[Sample]],
    ridge: float | None,
    recurrent: Sequence[tuple[RecurrentSite, Mapping[Cell, CellGoal], Steps]] = (),
) -> list[SolvedLayer]:
    """Solve all sites in graph order, in the tensors of `state`, recurrent ones among them. priors:
    state dicts, by name, that the solutions may be drawn to.

    Raises:
        DataError: the folded network gives something that is not finite.
    """
    run = SegmentedRun(traced, state, calibration.batches)
    report: list[SolvedLayer] = []
    order = {node.name: k for k, node in enumerate(traced.graph.nodes)}
    waiting = sorted(recurrent, key=lambda entry: order[entry[0].node])
    for number, site in enumerate(track(list(sites), "least squares")):
        while waiting and order[waiting[0][0].node] < order[site.layers[0].node]:
            report += _recurrent(run, state, priors, *waiting.pop(0), ridge)
        run.before(site.layers[0].node)
        intercept = any(has_intercept(layer) for layer in site.layers)
        sums = Ridge(
            [
                _joined([effective(prior, layer) for layer in site.layers], site)
                for prior in priors.values()
            ],
            intercept,
        )
        sources = [run.values(layer.source) for layer in site.layers]
        others = run.values(site.minus) if site.minus is not None else None
        start = 0
        for batch in range(len(calibration.batches)):
            sample = samples[number][batch]
            target = goals[number][start : start + len(sample)]
            start += len(sample)
            if others is not None:
                target = target - sample.take(others[batch]).to(target.dtype)
            blocks = [
                geometry.inputs(values[batch], sample, layer.groups).to(target.dtype)
                for geometry, layer, values in zip(
                    site.geometries, site.layers, sources, strict=True
                )
            ]
            rows = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 2)
            sums.add(rows, _grouped(target, rows.shape[0]), sample.held)
        solution = sums.solve(ridge)
        if not bool(torch.isfinite(solution.matrix).all()):
            raise DataError(
                f"The folded network gives non-finite values at {site.name} on the calibration"
                " data; check the data's scale."
            )
        _write(state, site, solution)
        report.append(
            SolvedLayer(site.name, start, solution.ridge, list(priors)[solution.prior], solution.r2)
        )
    for entry in waiting:
        report += _recurrent(run, state, priors, *entry, ridge)
    return report


def _recurrent(
    run: SegmentedRun,
    state: Mapping[str, Tensor],
    priors: Mapping[str, Mapping[str, Tensor]],
    site: RecurrentSite,
    goals: Mapping[Cell, CellGoal],
    steps: Steps,
    ridge: float | None,
) -> list[SolvedLayer]:
    run.before(site.node)
    solved = solve_recurrent(
        site,
        state,
        list(priors.values()),
        run.values(site.source),
        goals,
        steps.at,
        steps.held,
        ridge,
    )
    names = list(priors)
    return [
        SolvedLayer(
            " + ".join((cell.inputs, cell.own)),
            rows,
            found[0].ridge,
            names[found[0].prior],
            found[0].r2,
        )
        for cell, rows, found in solved
    ]


def _grouped(target: Tensor, groups: int) -> Tensor:
    return target.reshape(len(target), groups, -1).transpose(0, 1)


def _joined(parts: Sequence[tuple[Tensor, Tensor]], site: Site) -> tuple[Tensor, Tensor]:
    """The matrices of layers that feed one sum, below one another, and the sum of their constants
    by group.
    """
    constant = torch.stack([bias for _, bias in parts]).sum(0)
    return torch.cat([matrix for matrix, _ in parts], 1), constant.reshape(
        site.layers[0].groups, -1
    )


def _write(state: Mapping[str, Tensor], site: Site, solution: Solution) -> None:
    """Every layer's part of the solution into the state; the constant goes to the first layer that
    can hold it.
    """
    start = 0
    constant = solution.constant.reshape(-1)
    for layer in site.layers:
        matrix, _ = effective(state, layer)
        own = slice(start, start + matrix.shape[1])
        start = own.stop
        matrix, mean, covariance = (
            solution.matrix[:, own],
            solution.mean[:, own],
            solution.covariance[:, own, own],
        )
        bias = constant if has_intercept(layer) else torch.zeros_like(constant)
        constant = constant - bias
        middle = torch.einsum("gd,gdo->go", mean, matrix).reshape(-1) + bias
        variance = (matrix * (covariance @ matrix)).sum(1).reshape(-1)
        write(state, layer, matrix, bias, middle, variance)
