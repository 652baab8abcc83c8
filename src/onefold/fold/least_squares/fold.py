"""Least-squares folding: layer by layer in graph order, the weights whose output on the folded
network's own activations X comes nearest to the target T that the aligned members set,

    minimise over W, b   |X W + 1 b' - T|^2 / n + lambda m |W - W0|^2.

Since X comes from the folded prefix, every layer repairs the drift of those before it, and no
statistics need repair after it. Least squares of layers from activations: Jin, Ren, Preotiuc-Pietro
& Cheng 2023, "Dataless Knowledge Fusion by Merging Weights of Language Models" (RegMean, arXiv
2212.09849), where X is each member's own; Nasery, Hayase, Koh & Oh 2024, "PLeaS: Merging Models
with Permutations and Least Squares" (arXiv 2407.02447), where permuted members are. Targets:
`targets.py`; residual sums: `sites.py`; the ridge: `ridge.py`.

Cost: one forward pass of each member, one of the folded network, and the products X'X of sampled
rows; of pruning see also `units.py`. Memory: the calibration batches; the live values of the folded
network over all of them (at most LIVE bytes: fewer examples are used otherwise); the sampled
targets, three or four times (at most ROWS bytes: fewer rows are used otherwise); of one layer at a
time D^2 float64 numbers, D inputs of its matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from onefold.batches import Batch, Data, batches, check_dtype
from onefold.ensemble.class_shares import EVEN, pooled
from onefold.ensemble.names import EnsembleName, check_ensemble
from onefold.ensemble.pool import ClassPool, mean_pool
from onefold.errors import DataError, SettingError, TraceError, nearest
from onefold.fold.average import folds
from onefold.fold.least_squares.layers import Site, find_sites
from onefold.fold.least_squares.means import match_means
from onefold.fold.least_squares.output_layers import any_output, put_out
from onefold.fold.least_squares.outputs import Calibration, SiteOutputs
from onefold.fold.least_squares.recurrent import find_recurrent
from onefold.fold.least_squares.recurrent_targets import recurrent_aims
from onefold.fold.least_squares.selection import Picks, alignment_of, side_by_side
from onefold.fold.least_squares.solve import solve_sites
from onefold.fold.least_squares.targets import TARGETS, aims, is_put_out
from onefold.fold.least_squares.units import choose_units
from onefold.fold.network_fold import Folded, FoldJob, NetworkFold
from onefold.symmetry import TracedNetwork
from onefold.symmetry.segments import live_bytes

LIVE = 2 * 2**30
ROWS = 2 * 2**30
KEPT = 3  # of so many members the rows are in memory at once, no more than of the targets of others


@folds.register("least_squares")
@dataclass(frozen=True)
class LeastSquares(NetworkFold):
    """Layer by layer, the weights that come nearest to the members' features from the folded
    network's own.

    target: how the members' features make one target (see `targets.py`). rows: sampled positions of
    a layer's output over all examples. ridge: lambda, relative; None: chosen for each layer on the
    last 15 % of the examples. threshold: of "selection". ensemble: what the network's output aims
    at, the mean of the members' "logits"; for classifiers also that of their "probabilities", which
    is better where members are sure of what they do not know, or a pool (`onefold.class_pool`),
    better still where they saw the classes in different shares. "classes" is the pool that is
    estimated from the calibration data, whose classes are taken to be even.
    """

    target: str = "pruning"
    rows: int = 20000
    ridge: float | None = None
    threshold: float = 0.5
    ensemble: EnsembleName | ClassPool = "logits"

    repairs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise SettingError(
                f"There is no target '{self.target}' of least squares;"
                f" {nearest(self.target, TARGETS)}"
            )
        check_ensemble(self.ensemble)
        if self.rows < 1:
            raise SettingError(
                f"Least squares was asked for {self.rows} rows; it needs at least 1, and thousands"
                " to be good."
            )
        if self.ridge is not None and not (math.isfinite(self.ridge) and self.ridge > 0):
            raise SettingError(
                f"The ridge of least squares is {self.ridge}; it must be greater than 0, or left"
                " out to be chosen."
            )

    def fold(self, job: FoldJob) -> Folded:
        """The folded state, with the report of every layer and the names of the weights that keep
        the aligned average.
        """
        if job.data is None or job.traced is None or job.spec is None:
            raise SettingError(
                "Least squares needs calibration data and a network that can be traced; pass"
                " `data`, or use fold='average'."
            )
        pool = self._pool(job)
        average = job.average(job.shares)
        sites, kept = find_sites(job.traced, job.spec, average)
        recurrent = find_recurrent(job.traced, job.spec)
        if not sites:
            raise TraceError(
                "No layer of the network can be solved by least squares; use fold='average'."
            )
        members = [_own(model.state_dict()) for model in job.models]
        calibration, notes = _calibration(
            job.data,
            job.traced,
            sites,
            next(iter(average.values())).device,
            members[0],
            self.rows,
            job.seed,
        )
        put = (
            None
            if pool is None
            else put_out(job.traced, members[job.reference], calibration.batches, job.output)
        )
        alignment, aligned, priors = (
            job.alignment,
            job.states,
            {"reference": job.states[job.reference], "average": average},
        )
        picks: dict[str, Picks] = {}
        outputs = SiteOutputs(job.traced, members, sites, calibration)
        if self.target == "pruning":
            solvable = {layer.weight for site in sites for layer in site.layers} | {
                name for site in recurrent for name in site.tensors
            }
            beside = outputs if len(members) <= KEPT else None
            read = any_output(job.output) if put is None else put.read
            picks = choose_units(
                job.traced,
                job.spec,
                members,
                calibration,
                job.shares,
                job.reference,
                solvable,
                pool,
                beside,
                read,
            )
            if not picks:
                notes.append(
                    "no unit of the network can be taken from one member alone, so that means of"
                    " units were aimed at instead of pruning"
                )
        if self.ensemble == "classes":
            notes += [EVEN, *(pool.doubts if pool is not None else [])]
        if pool is not None and not any(is_put_out(put, job.spec, site) for site in sites):
            notes.append(
                "no layer that is solved puts out the logits, so that its output aims at the mean"
                " of the members' and not of probabilities"
            )
        with torch.no_grad():
            if picks:
                alignment = alignment_of(
                    picks, job.alignment, job.spec, len(members), job.reference
                )
                aligned = [alignment.apply_to_state(member, k) for k, member in enumerate(members)]
                average = side_by_side(aligned, job.spec, picks, job.shares, average)
                priors = {"members side by side": average}
            goals = aims(
                outputs,
                job.spec,
                aligned,
                alignment,
                job.shares,
                job.reference,
                self.target,
                self.threshold,
                picks,
                pool,
                put,
            )
            samples = outputs.samples
            gates, steps = (
                recurrent_aims(
                    job.traced,
                    job.spec,
                    members,
                    alignment,
                    recurrent,
                    calibration,
                    job.shares,
                    job.reference,
                    self.target,
                    picks,
                )
                if recurrent
                else ([], [])
            )
            del members, outputs
            state = {name: tensor.clone() for name, tensor in _own(average).items()}
            solved = solve_sites(
                job.traced,
                state,
                priors,
                sites,
                calibration,
                goals,
                samples,
                self.ridge,
                list(zip(recurrent, gates, steps, strict=True)),
            )
            for number, site in enumerate(sites):
                if pool is not None and pool.seen.shape[1] > 1 and is_put_out(put, job.spec, site):
                    match_means(
                        job.traced, state, site, calibration, samples[number], goals[number]
                    )
        inside = {
            name for site in sites for layer in site.layers for name in (layer.weight, layer.bias)
        }
        inside |= {
            name
            for site in sites
            for x in site.layers
            if x.norm
            for name in (x.norm.scale, x.norm.shift)
        }
        inside |= {name for site in recurrent for name in site.tensors}
        rest = [name for name in job.traced.parameters if name not in inside]
        details: dict[str, Any] = (
            {"classes": pool.to_dict()} if pool is not None and pool.seen.shape[1] > 1 else {}
        )
        details |= {
            "target": self.target,
            "examples": calibration.examples,
            "layers": [one.to_dict() for one in solved],
            "units": {
                name: torch.bincount(own.member, minlength=len(job.models)).tolist()
                for name, own in picks.items()
            },
            "averaged": {
                name: kept.get(name, "is no linear, convolutional or recurrent layer's")
                for name in rest
            },
        }
        return Folded(
            {name: tensor.contiguous() for name, tensor in state.items()},
            repair=False,
            details=details,
            warnings=notes,
            based=not picks,
        )

    def _pool(self, job: FoldJob) -> ClassPool | None:
        """What the outputs aim at, with the members' shares in it; None: the mean of logits."""
        assert job.data is not None
        ensemble = pooled(self.ensemble, job.models, job.data, job.output)
        if isinstance(ensemble, ClassPool):
            return ensemble.led_by(job.shares)
        return mean_pool(job.shares) if ensemble == "probabilities" else None


def _own(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with convolution weights in the layout that makes rows of features cheap to read."""
    return {
        k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v
        for k, v in state.items()
    }


def _calibration(
    data: Data,
    traced: TracedNetwork,
    sites: list[Site],
    device: torch.device,
    state: dict[str, Tensor],
    rows: int,
    seed: int,
) -> tuple[Calibration, list[str]]:
    """The batches to use, in memory, and how many rows of each layer; with notes where memory
    bounds them.
    """
    dtype = next(t.dtype for t in state.values() if t.is_floating_point())
    notes: list[str] = []
    width = sum(site.shape[site.axis] for site in sites) * 4 * max(4, dtype.itemsize)
    if rows * width > ROWS:
        rows = max(1, int(ROWS // width))
        notes.append(
            f"least squares uses {rows} rows of each layer, as the targets would take more than"
            f" {ROWS / 2**30:.0f} GiB otherwise"
        )
    most = max(1, int(LIVE // max(1.0, live_bytes(traced))))
    limit = min(most, rows)
    used: list[Batch] = []
    for item in batches(data, device, "calibration data"):
        batch = traced.counted(item)
        check_dtype(batch, dtype)
        if used and sum(b.size for b in used) + batch.size > limit:
            if limit == most:
                notes.append(
                    f"least squares uses {sum(b.size for b in used)} examples, as the values of"
                    f" more would take over {LIVE / 2**30:.0f} GiB"
                )
            break
        used.append(batch)
    if sum(batch.size for batch in used) < 2:
        raise DataError("Least squares needs at least 2 calibration examples; pass more.")
    return Calibration(used, rows, seed), notes
