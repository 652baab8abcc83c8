"""The second pass: the folded network runs once, and every site is solved before it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from onefold.errors import DataError
from onefold.fold.least_squares.layers import Site
from onefold.fold.least_squares.outputs import Calibration
from onefold.fold.least_squares.recurrent import Cell, CellTarget, RecurrentSite, solve_recurrent
from onefold.fold.least_squares.recurrent_targets import Steps
from onefold.fold.least_squares.ridge import Ridge, Solution
from onefold.fold.least_squares.rows import Sample
from onefold.fold.least_squares.weights import effective, has_intercept, write
from onefold.progress import track
from onefold.symmetry import TracedNetwork
from onefold.symmetry.segments import SegmentedRun


@dataclass(frozen=True)
class SolvedLayer:
    """The report of one site.

    Attributes:
        weights: the names of its weights.
        rows: the number of rows.
        ridge: lambda that was chosen; inf if only the constant changed.
        prior: the name of the prior that was chosen.
        explained: the share of the target's variance that is explained on held-out rows.
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
    targets: Sequence[Tensor],
    samples: Sequence[Sequence[Sample]],
    ridge: float | None,
    recurrent: Sequence[tuple[RecurrentSite, Mapping[Cell, CellTarget], Steps]] = (),
) -> list[SolvedLayer]:
    """Solve all sites in graph order, recurrent ones among them, in the tensors of `state`.

    Args:
        traced: the traced network.
        state: the folded state, changed in place.
        priors: name -> state dict that the solutions may be drawn to.
        sites: the sites, in order.
        calibration: the batches.
        targets: of each site, all sampled rows (rows, channels).
        samples: of each site the sampled positions of each batch.
        ridge: lambda; None to choose it for each site.
        recurrent: recurrent operators with their targets and sampled steps.

    Raises:
        DataError: the folded network gives values that are not finite.
    """
    run = SegmentedRun(traced, state, calibration.batches)
    report: list[SolvedLayer] = []
    order = {node.name: k for k, node in enumerate(traced.graph.nodes)}
    waiting = sorted(recurrent, key=lambda entry: order[entry[0].node])
    for number, site in enumerate(track(list(sites), "least squares")):
        while waiting and order[waiting[0][0].node] < order[site.layers[0].node]:
            report += _recurrent(run, state, priors, *waiting.pop(0), ridge)
        run.before(site.layers[0].node)
        sums = Ridge(
            [_matrix(prior, site) for prior in priors.values()],
            any(has_intercept(layer) for layer in site.layers),
        )
        _add_rows(sums, run, site, targets[number], samples[number])
        solution = sums.solve(ridge)
        if not bool(torch.isfinite(solution.matrix).all()):
            raise DataError(
                f"The folded network gives non-finite values at {site.name} on the calibration"
                " data; check the data's scale."
            )
        _write(state, site, solution)
        rows, prior = len(targets[number]), list(priors)[solution.prior]
        report.append(SolvedLayer(site.name, rows, solution.ridge, prior, solution.r2))
    for entry in waiting:
        report += _recurrent(run, state, priors, *entry, ridge)
    return report


def _recurrent(
    run: SegmentedRun,
    state: Mapping[str, Tensor],
    priors: Mapping[str, Mapping[str, Tensor]],
    site: RecurrentSite,
    targets: Mapping[Cell, CellTarget],
    steps: Steps,
    ridge: float | None,
) -> list[SolvedLayer]:
    run.before(site.node)
    solved = solve_recurrent(
        site,
        state,
        list(priors.values()),
        run.values(site.source),
        targets,
        steps.at,
        steps.held,
        ridge,
    )
    names = list(priors)
    report = []
    for cell, rows, solutions in solved:
        weights, first = " + ".join((cell.inputs, cell.hidden)), solutions[0]
        report.append(SolvedLayer(weights, rows, first.ridge, names[first.prior], first.r2))
    return report


def _add_rows(
    sums: Ridge, run: SegmentedRun, site: Site, targets: Tensor, samples: Sequence[Sample]
) -> None:
    """Add the rows of all batches to a site's sums."""
    sources = [run.values(layer.source) for layer in site.layers]
    subtracted = run.values(site.minus) if site.minus is not None else None
    start = 0
    for batch, sample in enumerate(samples):
        target = targets[start : start + len(sample)]
        start += len(sample)
        if subtracted is not None:
            target = target - sample.take(subtracted[batch]).to(target.dtype)
        blocks = [
            geometry.inputs(values[batch], sample, layer.groups).to(target.dtype)
            for geometry, layer, values in zip(site.geometries, site.layers, sources, strict=True)
        ]
        rows = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 2)
        grouped = target.reshape(len(target), rows.shape[0], -1).transpose(0, 1)
        sums.add(rows, grouped, sample.held)


def _matrix(state: Mapping[str, Tensor], site: Site) -> tuple[Tensor, Tensor]:
    """The matrices of layers that feed one sum, below one another, and their summed constant."""
    parts = [effective(state, layer) for layer in site.layers]
    constant = torch.stack([bias for _, bias in parts]).sum(0)
    matrix = torch.cat([matrix for matrix, _ in parts], 1)
    return matrix, constant.reshape(site.layers[0].groups, -1)


def _write(state: Mapping[str, Tensor], site: Site, solution: Solution) -> None:
    """Write every layer's part of the solution into the state.

    The constant goes to the first layer that can hold it.
    """
    start = 0
    constant = solution.constant.reshape(-1)
    for layer in site.layers:
        matrix, _ = effective(state, layer)
        rows = slice(start, start + matrix.shape[1])
        start = rows.stop
        matrix, mean = solution.matrix[:, rows], solution.mean[:, rows]
        covariance = solution.covariance[:, rows, rows]
        bias = constant if has_intercept(layer) else torch.zeros_like(constant)
        constant = constant - bias
        middle = torch.einsum("gd,gdo->go", mean, matrix).reshape(-1) + bias
        variance = (matrix * (covariance @ matrix)).sum(1).reshape(-1)
        write(state, layer, matrix, bias, middle, variance)
