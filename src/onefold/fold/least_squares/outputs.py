"""Outputs of the members' layers at sampled positions: the rows that targets are made of.

A member runs over the examples when its rows are asked for. It need not if its rows were recorded
by `read`, as all members ran together for another purpose; then the rows of all of them are in
memory at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from onefold.batches import Batch
from onefold.errors import DataError
from onefold.fold.least_squares.layers import Site
from onefold.fold.least_squares.rows import Sample, draw
from onefold.progress import track
from onefold.symmetry import TracedNetwork

_SPREAD = 7919  # seeds of neighbouring batches and sites lie apart


@dataclass(frozen=True)
class Calibration:
    """The batches, and the positions that are sampled in them.

    Attributes:
        batches: the batches, in memory.
        rows: sampled positions of a layer's output over all examples.
        seed: of the sampling.
        share: the part of the examples, the last ones, that is held out.
    """

    batches: Sequence[Batch]
    rows: int
    seed: int
    share: float = 0.15

    @property
    def examples(self) -> int:
        """The number of examples in all batches."""
        return sum(batch.size for batch in self.batches)

    def held_in(self, batch: int) -> int:
        """The number of a batch's last examples that are held out."""
        sizes = [b.size for b in self.batches]
        first = self.examples - round(self.share * self.examples)  # of the examples held out
        return min(sizes[batch], max(0, sum(sizes[: batch + 1]) - first))

    def sample(self, number: int, site: Site, batch: int, shape: Sequence[int]) -> Sample:
        """Sampled positions in one batch of the site with that number.

        `shape` is the shape of the target's value on this batch.
        """
        generator = torch.Generator().manual_seed(self.seed + _SPREAD * (batch + _SPREAD * number))
        per = max(1, self.rows // self.examples)
        return draw(
            shape,
            site.axis,
            site.geometries[0].example,
            self.batches[batch].size,
            per,
            self.held_in(batch),
            generator,
        )


@dataclass
class SiteOutputs:
    """The members' outputs at all sites.

    Attributes:
        traced: the traced network.
        states: the members' state dicts.
        sites: the sites whose targets are read.
        calibration: the batches and the sampled rows.
        samples: of each site the sample of each batch that was read so far.
    """

    traced: TracedNetwork
    states: Sequence[Mapping[str, Tensor]]
    sites: Sequence[Site]
    calibration: Calibration
    samples: list[list[Sample]] = field(init=False)
    _kept: dict[int, list[list[Tensor]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.samples = [[] for _ in self.sites]

    @property
    def nodes(self) -> set[str]:
        """The nodes whose values are read."""
        return {site.target for site in self.sites}

    def read(self, node: str, batch: int, values: Mapping[int, Tensor]) -> None:
        """Record the rows of a node's values in one batch, by member.

        Batches come in their order.
        """
        for number, site in enumerate(self.sites):
            if site.target != node:
                continue
            for member, value in values.items():
                if len(self.samples[number]) == batch:
                    self.samples[number].append(
                        self.calibration.sample(number, site, batch, value.shape)
                    )
                rows = self.samples[number][batch].take(value)
                kept = self._kept.setdefault(member, [[] for _ in self.sites])
                kept[number].append(
                    rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
                )

    def of(self, member: int) -> list[Tensor]:
        """The sampled rows of one member at every site, in the order of the batches.

        They are released here: a second call runs the member again.

        Raises:
            DataError: the member gives values that are not finite.
        """
        if member not in self._kept:
            self.run_member(member)
        joined = []
        for site, parts in zip(self.sites, self._kept.pop(member), strict=True):
            rows = torch.cat(parts)
            parts.clear()
            if not bool(torch.isfinite(rows.sum())):
                raise DataError(
                    f"Member {member} gives non-finite values at {site.name} on the calibration"
                    " data; check its weights and the data's scale."
                )
            joined.append(rows)
        return joined

    def run_member(self, member: int) -> None:
        """Run one member over the calibration data and store its outputs at every site."""

        def visitor(batch: int) -> Callable[[str, list[Tensor]], None]:
            return lambda node, values: self.read(node, batch, {member: values[0]})

        nodes = self.nodes
        last = max(
            nodes, key={node.name: k for k, node in enumerate(self.traced.graph.nodes)}.__getitem__
        )
        for number, batch in enumerate(
            track(self.calibration.batches, f"outputs of member {member}")
        ):
            self.traced.replay(
                [self.states[member]],
                batch.args,
                batch.kwargs,
                visit=visitor(number),
                nodes=nodes,
                until=last,
            )
