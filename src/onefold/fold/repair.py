"""REPAIR: give the folded features the means and deviations that the aligned members' features
have.

An average of decorrelated features varies too little, layer after layer (variance collapse).
For every output channel of a layer whose features may move, with mean m and deviation s measured in
the folded network, and the targets m* = mean_k m_k and s* = mean_k s_k over the aligned members,
    y  ->  (y - m) s* / s + m*.
With a batch norm behind the layer this is its running statistics and affine part, otherwise the
layer's own weight and bias. The outputs of the network have no target, as nothing may move there.
Nor have weights that are used more than once, and a layer with neither bias nor norm has nothing to
write the mean to.

Jordan, Sedghi, Saukh, Entezari & Neyshabur 2023, "REPAIR: REnormalizing Permuted Activations for
Interpolation Repair" (arXiv 2211.08403). All layers are done in one pass: each batch is corrected
by its own statistics on the way, as batch norm does in training, so that a layer sees inputs which
are repaired already. Batches of fewer than FEW examples take away what tells the examples apart. Up
to a tenth of the examples they are left out; beyond that the places are settled one after the
other, each by a pass over all of the data up to it. A norm that runs at several places is repaired
as one (see `repair_places.py`).

Layers from the network's input on that have the wanted means and deviations already are left alone,
and their values are not corrected on the way: batches differ from one another, and networks that
are the same stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from onefold.alignment import Target, trace_on
from onefold.batches import (
    Data,
    RankShare,
    batches,
    check_dtype,
    check_reiterable,
    device_of,
    dtype_of,
)
from onefold.batchnorm import FEW, reestimate, too_small
from onefold.caches import fill
from onefold.distributed import from_every_rank, raise_together, sum_over_ranks
from onefold.errors import DataError
from onefold.fold.repair_places import Place, places_of
from onefold.progress import track
from onefold.symmetry import SymmetrySpec, TracedNetwork


@dataclass(frozen=True)
class RepairReport:
    """What repair did: how many norms were re-estimated, how many layers rescaled, how many
    channels were dead, and what was left alone.

    settled: how many places from the input on were as wanted already; they are counted among norms
    and layers.
    """

    norms: int = 0
    layers: int = 0
    dead: int = 0
    settled: int = 0
    skipped: list[str] = field(default_factory=list)


def recalibrate(model: nn.Module, data: Data) -> nn.Module:
    """Re-estimate the batch-norm statistics of `model` over `data`, in place, and return it.

    Weights stay as they are.

    Raises:
        DataError: the data is empty or cannot be run, or the network has no batch norm (it then
            needs the members' statistics: `onefold.merge(..., repair="auto")`).
    """
    if reestimate(model, data) == 0:
        raise DataError(
            f"{type(model).__name__} has no batch norm with running statistics to recalibrate; use"
            " onefold.merge(..., repair='auto') instead."
        )
    return model


def repair(
    model: nn.Module,
    data: Data,
    spec: SymmetrySpec,
    targets: Mapping[str, Target],
    *,
    traced: TracedNetwork | None = None,
) -> RepairReport:
    """Repair a folded network in place: see the equation above.

    Works with batch norm, without, and with a mixture of both.

    Args:
        model: the folded network, of the architecture that `spec` describes.
        data: calibration batches; labels are ignored. Batches of 64 examples or more give steady
            statistics. A `RankShare` of them is this process's part, and sums run over all
            processes.
        targets: output node of a layer -> its target (`Alignment.targets`). Norms without a target
            keep their affine part and are re-estimated.

    Raises:
        DataError: the data is empty, used up or cannot be run.
    """
    data = check_reiterable(data, "calibration data")
    state = {k: v.detach().clone() for k, v in model.state_dict().items()}
    if traced is None:
        traced = trace_on(model, data)
    places = places_of(spec, state, targets, [node.name for node in traced.graph.nodes])
    run = _Run(traced, data, state, spec.tied, device_of(model), dtype_of(model))
    sites = list(dict.fromkeys(place.site for place in places))
    done = {place.node for place in places}
    settled = _settled(run, places)
    places = places[settled:]
    run.measure(places, small=False)
    dead, rest = _few(run, places)
    some = len(rest) < len(places)  # were too small, so that all batches are used
    loose = [place for place in rest if place.site.target is None]
    if any(len(place.site.places) > 1 for place in rest) and len(loose) < len(rest):
        # Each place was corrected by itself, as in training, but in eval mode all have the
        # statistics of their norm: those are settled first, and what has a target is measured in
        # the network as it will run.
        dead += run.settle(loose)
        rest = [place for place in rest if place.site.target is not None]
        run.measure(rest, small=some)
    dead += run.settle(rest)
    fill(model, state)
    norms = sum(site.places[0].norm is not None for site in sites)
    skipped = [
        layer.weight
        for layer in spec.layers
        if layer.output in targets and layer.output not in done
    ]
    return RepairReport(norms, len(sites) - norms, dead, settled, skipped)


def _settled(run: _Run, places: Sequence[Place]) -> int:
    """How many places, from the first one on, have the wanted means and deviations already.

    The first is looked at alone, as folded networks that need repair mostly need it there: then a
    pass over the first layer is all it costs.
    """
    for ahead in (places[:1], places):
        if not ahead:
            return 0
        run.measure(ahead, until=ahead[-1].node, correct=False)
        found = next(
            (k for k, place in enumerate(ahead) if not place.stands(run.state)), len(ahead)
        )
        if found < len(ahead):
            break
    cut = {
        place.site for place in places[found:]
    }  # a norm that runs at several places is settled at all of them or at none
    return next((k for k, place in enumerate(places[:found]) if place.site in cut), found)


def _few(run: _Run, places: Sequence[Place]) -> tuple[int, list[Place]]:
    """Settle the sites for which batches are too small, and measure the others again; dead
    channels, and those others.

    They are settled one after the other, each by a pass over all of the data up to it, with no
    correction by single batches.
    """
    nodes = run.agreed([place.node for place in places if place.site.few])
    few = [
        place
        for place in places
        if too_small(*run.sizes) or any(own.node in nodes for own in place.site.places)
    ]
    for k, place in enumerate(few):
        ahead = [own for own in places[: places.index(place) + 1] if own not in few[:k]]
        run.measure(ahead, until=place.node)
        place.site.write(run.state)
        run.tie()
    rest = [place for place in places if place not in few]
    if few and rest:
        run.measure(rest)
    return sum(site.dead for site in dict.fromkeys(place.site for place in few)), rest


@dataclass
class _Run:
    """The folded network on its way: its state, and what it runs over. tied: names of one tensor,
    which the first one stands for.
    """

    traced: TracedNetwork
    data: Data
    state: dict[str, Tensor]
    tied: Sequence[Sequence[str]]
    device: torch.device
    dtype: torch.dtype
    sizes: tuple[int, int] = (0, 0)

    def agreed(self, names: list[str]) -> set[str]:
        """Names that any rank has, where the data is shared out."""
        found = from_every_rank(names) if isinstance(self.data, RankShare) else [names]
        return {name for own in found for name in own}

    def measure(
        self,
        places: Sequence[Place],
        until: str | None = None,
        *,
        small: bool = True,
        correct: bool = True,
    ) -> None:
        """Run over the data, up to a node.

        Each of `places` is measured, and corrected batch by batch unless `correct` is False.

        small: also over small batches. Sets `sizes`, the examples in small batches and in all.
        """
        at = {place.node: place for place in places}
        state = {
            k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v
            for k, v in self.state.items()
        }
        for place in places:
            place.begin()

        def visit(node: str, values: list[Tensor]) -> list[Tensor] | None:
            corrected = at[node].corrected(values[0], self.state)
            return [corrected] if correct else None

        shared = isinstance(self.data, RankShare)
        sizes = torch.zeros(2, dtype=torch.int64)
        with raise_together() if shared else contextlib.nullcontext():
            for batch in track(batches(self.data, self.device, "calibration data"), "repair"):
                check_dtype(batch, self.dtype)
                sizes += torch.tensor([batch.size if batch.size < FEW else 0, batch.size])
                if batch.size < FEW and not small:
                    continue
                self.traced.replay(
                    [state], batch.args, batch.kwargs, visit=visit, nodes=list(at), until=until
                )
        self.sizes = tuple((sum_over_ranks(sizes) if shared else sizes).tolist())
        for place in places:
            place.end(self.state, self.device, shared=shared)

    def settle(self, places: Sequence[Place]) -> int:
        """Write the corrections of the places' sites; returns how many channels are dead."""
        dead = sum(site.write(self.state) for site in dict.fromkeys(place.site for place in places))
        self.tie()
        return dead

    def tie(self) -> None:
        """Let all names of one tensor have what was written under the first."""
        for first, *others in self.tied:
            for name in others:
                if first in self.state and name in self.state:
                    self.state[name] = self.state[first]
