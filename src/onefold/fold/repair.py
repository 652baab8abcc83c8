"""REPAIR: the folded features get the means and deviations of the aligned members' features.

An average of decorrelated features varies too little, layer after layer (variance collapse). For
every output channel of a layer whose features may move, let m and s be its mean and deviation in
the folded network, and m* = mean_k m_k and s* = mean_k s_k the targets over the aligned members.
Then

    y  ->  (y - m) s* / s + m*.

With a batch norm behind the layer this is the norm's running statistics and affine part, otherwise
the layer's own weight and bias. The outputs of the network have no target, as nothing may move
there. Weights that are used more than once have none either. A layer with neither bias nor norm has
nothing to write the mean to.

Jordan, Sedghi, Saukh, Entezari & Neyshabur 2023, "REPAIR: REnormalizing Permuted Activations for
Interpolation Repair" (arXiv 2211.08403).

All layers are repaired in one pass: each batch is corrected by its own statistics on the way, as
batch norm does in training, so that a layer reads inputs that are repaired already. Batches of
fewer than FEW examples lose by that what tells the examples apart. Up to a tenth of the examples
they are left out. Beyond that the places are repaired one after the other, each by a pass over all
of the data up to it. A norm that runs at several places is repaired as one (see
`repair_places.py`).

Layers from the network's input on that have the wanted means and deviations already are left alone,
and their values are not corrected on the way. Batches differ from one another, and networks that
are the same must stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from onefold.alignment import Target, trace_on
from onefold.arguments import checked
from onefold.batches import Data, RankShare, batches, check_reiterable, device_of, dtype_of
from onefold.batchnorm import FEW, reestimate, too_small
from onefold.caches import fill
from onefold.copying import check_changeable
from onefold.distributed import from_every_rank, raise_together, sum_over_ranks
from onefold.errors import DataError
from onefold.fold.repair_places import Place, places_of
from onefold.forward import check_dtype
from onefold.isolation import isolated
from onefold.progress import track
from onefold.symmetry import SymmetrySpec, TracedNetwork


@dataclass(frozen=True)
class RepairReport:
    """The record of a repair.

    Attributes:
        norms: how many norms were re-estimated.
        layers: how many layers were rescaled.
        dead: how many channels were dead.
        settled: how many places from the input on were as wanted already; they are counted among
            norms and layers.
        skipped: the weights of layers that were left alone.
    """

    norms: int = 0
    layers: int = 0
    dead: int = 0
    settled: int = 0
    skipped: list[str] = field(default_factory=list)


@checked
@isolated
def recalibrate(model: nn.Module, data: Data) -> nn.Module:
    """Re-estimate the batch-norm statistics of `model` over `data`, in place, and return it.

    Weights stay as they are.

    Raises:
        DataError: the data is empty or cannot be run, or the network has no batch norm (it then
            needs the members' statistics: `onefold.merge(..., repair="auto")`).
        MembersError: torch.inference_mode() made the network.
    """
    check_changeable(model)
    if reestimate(model, data) == 0:
        raise DataError(
            f"{type(model).__name__} has no batch norm with running statistics to recalibrate; use"
            " onefold.merge(..., repair='auto') instead."
        )
    return model


@checked
@isolated
def repair(
    model: nn.Module,
    data: Data,
    spec: SymmetrySpec,
    targets: Mapping[str, Target],
    *,
    traced: TracedNetwork | None = None,
) -> RepairReport:
    """Repair a folded network in place, layer by layer (REPAIR).

    It works with batch norm, without, and with a mixture of both.

    Args:
        model: the folded network, of the architecture that `spec` describes.
        data: calibration batches; labels are ignored. Batches of 64 examples or more give steady
            statistics. A `RankShare` of them is this process's part, and sums run over all
            processes.
        spec: the network's symmetries.
        targets: output node of a layer -> its target (`Alignment.targets`). Norms without a target
            keep their affine part and are re-estimated.
        traced: the traced network; None to trace it.

    Raises:
        DataError: the data is empty, used up or cannot be run.
        MembersError: torch.inference_mode() made the network.
    """
    check_changeable(model)
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
    some = len(rest) < len(places)  # some were too small, so that all batches are used
    loose = [place for place in rest if place.site.target is None]
    if any(len(place.site.places) > 1 for place in rest) and len(loose) < len(rest):
        # Each place was corrected by itself, as in training. In eval mode all have the statistics
        # of their norm. So norms without a target are settled first, and places with a target are
        # measured in the network as it will run.
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
    """The number of places, from the first one on, that are as wanted already.

    The first is measured alone, as folded networks that need repair mostly need it there. Then a
    pass over the first layer is the whole cost.
    """
    for ahead in (places[:1], places):
        if not ahead:
            return 0
        run.measure(ahead, until=ahead[-1].node, correct=False)
        unsettled = (k for k, place in enumerate(ahead) if not place.is_settled(run.state))
        found = next(unsettled, len(ahead))
        if found < len(ahead):
            break
    # A norm that runs at several places is settled at all of them or at none.
    cut = {place.site for place in places[found:]}
    return next((k for k, place in enumerate(places[:found]) if place.site in cut), found)


def _few(run: _Run, places: Sequence[Place]) -> tuple[int, list[Place]]:
    """Settle the sites for which batches are too small, and measure the others again.

    They are settled one after the other, each by a pass over all of the data up to it, with no
    correction by single batches.

    Returns:
        The number of dead channels, and the other places.
    """
    nodes = run.agreed([place.node for place in places if place.site.few])
    few = [
        place
        for place in places
        if too_small(*run.sizes) or any(p.node in nodes for p in place.site.places)
    ]
    for k, place in enumerate(few):
        ahead = [p for p in places[: places.index(place) + 1] if p not in few[:k]]
        run.measure(ahead, until=place.node)
        place.site.write(run.state)
        run.tie()
    rest = [place for place in places if place not in few]
    if few and rest:
        run.measure(rest)
    return sum(site.dead for site in dict.fromkeys(place.site for place in few)), rest


@dataclass
class _Run:
    """A repair in progress.

    Attributes:
        traced: the traced network.
        data: the calibration batches.
        state: the folded state, changed by the repair.
        tied: names of one tensor; the first one is written.
        device: of the network.
        dtype: of the network.
        sizes: the examples in small batches and in all.
    """

    traced: TracedNetwork
    data: Data
    state: dict[str, Tensor]
    tied: Sequence[Sequence[str]]
    device: torch.device
    dtype: torch.dtype
    sizes: tuple[int, int] = (0, 0)

    def agreed(self, names: list[str]) -> set[str]:
        """Names that any rank has, if the data is shared out."""
        of_ranks = from_every_rank(names) if isinstance(self.data, RankShare) else [names]
        return {name for of_rank in of_ranks for name in of_rank}

    def measure(
        self,
        places: Sequence[Place],
        until: str | None = None,
        *,
        small: bool = True,
        correct: bool = True,
    ) -> None:
        """Run over the data, and measure each of `places`. Sets `sizes`.

        Args:
            places: the places to measure.
            until: the node to run up to; None for the whole network.
            small: whether small batches are used too.
            correct: whether values are corrected batch by batch.
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
        """Write the corrections of the places' sites, and return how many channels are dead."""
        dead = sum(site.write(self.state) for site in dict.fromkeys(place.site for place in places))
        self.tie()
        return dead

    def tie(self) -> None:
        """Give all names of one tensor the value that was written under the first."""
        for first, *others in self.tied:
            for name in others:
                if first in self.state and name in self.state:
                    self.state[name] = self.state[first]
