"""The plan of a least-squares fold: all that is known before a weight is solved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.batches import Batch, Data, batches
from onefold.ensemble.pool import ClassPool
from onefold.errors import DataError, SettingError, TraceError
from onefold.fold.least_squares.layers import Site, find_sites
from onefold.fold.least_squares.output_layers import OutputNode, find_output
from onefold.fold.least_squares.outputs import Calibration
from onefold.fold.least_squares.recurrent import RecurrentSite, find_recurrent
from onefold.fold.least_squares.targets import is_output_layer
from onefold.fold.network_fold import FoldJob
from onefold.forward import check_dtype
from onefold.symmetry import SymmetrySpec, TracedNetwork
from onefold.symmetry.segments import live_bytes

LIVE = 2 * 2**30
ROWS = 2 * 2**30


@dataclass(frozen=True)
class Plan:
    """What is solved, on which data, and towards which output.

    Attributes:
        traced: the traced network.
        spec: its symmetries.
        members: the members' own state dicts. They are cleared once the targets are computed.
        shares: the members' weights, which sum to 1.
        reference: the member whose basis the folded network has.
        average: the aligned members' average.
        sites: the layers to solve, in order.
        unsolved: weight name of a layer that is not solved -> the reason.
        recurrent: the recurrent operators to solve.
        calibration: the batches and the sampled rows.
        pool: the mean of probabilities or classes that outputs aim at; None for the mean of logits.
        output_node: the output of classes in the graph; None without a pool.
        notes: sentences for the report.
    """

    traced: TracedNetwork
    spec: SymmetrySpec
    members: list[dict[str, Tensor]]
    shares: tuple[float, ...]
    reference: int
    average: dict[str, Tensor]
    sites: list[Site]
    unsolved: dict[str, str]
    recurrent: list[RecurrentSite]
    calibration: Calibration
    pool: ClassPool | None
    output_node: OutputNode | None
    notes: list[str]

    @property
    def solvable(self) -> set[str]:
        """The names of the tensors that are solved, without biases and norms of layers."""
        weights = {layer.weight for site in self.sites for layer in site.layers}
        return weights | {name for site in self.recurrent for name in site.tensors}

    @property
    def solved(self) -> set[str | None]:
        """The names of all tensors that solving writes to."""
        layers = [layer for site in self.sites for layer in site.layers]
        names = {name for layer in layers for name in (layer.weight, layer.bias)}
        norms = [layer.norm for layer in layers if layer.norm]
        names |= {name for norm in norms for name in (norm.scale, norm.shift)}
        return names | {name for site in self.recurrent for name in site.tensors}

    @property
    def by_class(self) -> bool:
        """Whether the pool weighs members class by class."""
        return self.pool is not None and self.pool.seen.shape[1] > 1

    def is_pooled(self, site: Site) -> bool:
        """Whether the site's output is the one that the pool is of."""
        return self.pool is not None and is_output_layer(self.output_node, self.spec, site)


def make_plan(job: FoldJob, pool: ClassPool | None, rows: int) -> Plan:
    """The plan for a job.

    Args:
        job: what the merge hands over.
        pool: what the network's output aims at; None for the mean of logits.
        rows: sampled positions of a layer's output over all examples.

    Raises:
        SettingError: the job has no data or no traced network.
        TraceError: no layer can be solved.
        DataError: the data has fewer than two examples, or the output of classes is not known.
    """
    traced, spec, data = check_job(job)
    average = job.average(job.shares)
    sites, unsolved = find_sites(traced, spec, average)
    recurrent = find_recurrent(traced, spec)
    if not sites:
        raise TraceError(
            "No layer of the network can be solved by least squares; use fold='average'."
        )
    members = [channels_last(model.state_dict()) for model in job.models]
    device = next(iter(average.values())).device
    calibration, notes = _calibration(data, traced, sites, device, members[0], rows, job.seed)
    output_node = None
    if pool is not None:
        reference = members[job.reference]
        output_node = find_output(traced, reference, calibration.batches, job.output)
    return Plan(
        traced,
        spec,
        members,
        job.shares,
        job.reference,
        average,
        sites,
        unsolved,
        recurrent,
        calibration,
        pool,
        output_node,
        notes,
    )


def check_job(job: FoldJob) -> tuple[TracedNetwork, SymmetrySpec, Data]:
    """The traced network, its symmetries and the calibration data of a job.

    Raises:
        SettingError: one of them is missing.
    """
    if job.data is None or job.traced is None or job.spec is None:
        raise SettingError(
            "Least squares needs calibration data and a network that can be traced; pass"
            " `data`, or use fold='average'."
        )
    return job.traced, job.spec, job.data


def channels_last(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with 4-d weights in channels-last layout, from which rows are cheap to read."""
    return {
        k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v
        for k, v in state.items()
    }


def _calibration(
    data: Data,
    traced: TracedNetwork,
    sites: Sequence[Site],
    device: torch.device,
    state: dict[str, Tensor],
    rows: int,
    seed: int,
) -> tuple[Calibration, list[str]]:
    """The batches to hold in memory and the rows of each layer, with notes on memory bounds."""
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
