"""The choice of units: which units of all members the folded network keeps.

Side by side the members are one network of K times the width, whose output is the ensemble's.
Folding them is pruning that network to one width: of the K C units of a group, C stay. The worth of
a unit is what the layers that read it lose without it,

    E(S) = sum over consumers r of  min_V mean_x | M_r^(1/2) (y_r - V x_r,S) |^2,
    M_r  = mean_x g_r g_r',    g_r = d(u' f) / d y_r.

x_r are the units of all members as consumer r reads them, and y_r the outputs of the members' own
layers. f is the mean of the members' outputs, and u has independent normal coordinates. So E is the
error that reaches the outputs, to first order. For an ensemble that is a mean of probabilities q,
g_r = d log q_c / d y_r with a class c drawn from q, which makes M_r the Fisher information
(`sensitivity.py`).

The units that stay are found by backward elimination (`elimination.py`). Then least squares fits
these units from the units that stay in the layer before.

Pruning by the next layer's error: Luo, Wu & Lin 2017, "ThiNet" (arXiv 1707.06342). Networks side by
side: Stoica et al. 2024, "ZipIt!" (arXiv 2305.03053), which averages correlated units instead.

A unit under a kernel of several taps has one column of X for each tap. If these are more than
COLUMNS in all, projections take their place (`sensitivity.py`).

Cost: a forward pass of each member, one more and a backward pass over a fourth of the examples (at
most SENSED), and the products X'X. Memory: (K C taps)^2 numbers for each consumer, at most
COLUMNS^2 or (K C)^2, whichever is more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from torch import Tensor

from onefold.ensemble.pool import ClassPool
from onefold.fold.least_squares.consumers import find_consumers, gather_products
from onefold.fold.least_squares.elimination import Regression, eliminate, eliminated
from onefold.fold.least_squares.output_layers import Read, any_output
from onefold.fold.least_squares.outputs import Calibration, SiteOutputs
from onefold.fold.least_squares.ranking import Ranks, own_units
from onefold.fold.least_squares.selection import UnitSelection
from onefold.fold.least_squares.sensitivity import measure_sensitivity
from onefold.inference import ANY
from onefold.progress import track
from onefold.symmetry import SymmetrySpec, TracedNetwork

RIDGE = 1e-2
RANKED = 1e-4  # the ridge where all units are ranked, so that one of two like ones goes first


def choose_units(
    traced: TracedNetwork,
    spec: SymmetrySpec,
    states: Sequence[Mapping[str, Tensor]],
    calibration: Calibration,
    shares: Sequence[float],
    reference: int,
    solvable: Collection[str],
    pool: ClassPool | None = None,
    outputs: SiteOutputs | None = None,
    read: Read | None = None,
) -> dict[str, UnitSelection]:
    """The units that fill the places of each group that some layer reads.

    Units of the reference stay in place. A group that other weights than `solvable` read is left
    out.

    Args:
        traced: the traced network.
        spec: its symmetries.
        states: the members' state dicts.
        calibration: the batches and the sampled rows.
        shares: the members' weights, which sum to 1.
        reference: the reference's number.
        solvable: the weights that will be solved.
        pool: the ensemble of probabilities; None for the mean of logits.
        outputs: records what it needs as the members run here; None for nothing.
        read: from what a network returns to the output that counts; None for any output.

    Raises:
        DataError: a member gives values that are not finite.
    """
    found = _regressions(traced, spec, states, calibration, shares, solvable, pool, outputs, read)
    selections = {}
    for name, regressions in found:
        size = spec.group(name).size
        units = eliminate(regressions, len(states) * size, size, RIDGE)
        selections[name] = UnitSelection.placed(units, size, reference)
    return selections


def rank_units(
    traced: TracedNetwork,
    spec: SymmetrySpec,
    states: Sequence[Mapping[str, Tensor]],
    calibration: Calibration,
    shares: Sequence[float],
    reference: int,
    solvable: Collection[str],
    pool: ClassPool | None = None,
    outputs: SiteOutputs | None = None,
    read: Read | None = None,
) -> dict[str, Ranks]:
    """The units in the order in which they can be spared, by group.

    Errors are those of one example at the outputs, over all positions, so that groups can be
    compared.

    Args:
        traced: as for `choose_units`.
        spec: as there.
        states: as there.
        calibration: as there.
        shares: as there.
        reference: the member whose units all stay in `Ranks.member`.
        solvable: as there.
        pool: as there.
        outputs: as there.
        read: as there.

    Raises:
        DataError: a member gives values that are not finite.
    """
    found = _regressions(
        traced, spec, states, calibration, shares, solvable, pool, outputs, read, per_example=True
    )
    ranks = {}
    for name, regressions in found:
        size = spec.group(name).size
        every = len(states) * size
        units = eliminated(regressions, every, 1, RANKED)
        beside = units
        if len(states) > 1:
            own = own_units(len(states), size, reference)
            beside = eliminated(regressions, every, size, RANKED, stay=own)
        ranks[name] = Ranks(units, beside)
    return ranks


def _regressions(
    traced: TracedNetwork,
    spec: SymmetrySpec,
    states: Sequence[Mapping[str, Tensor]],
    calibration: Calibration,
    shares: Sequence[float],
    solvable: Collection[str],
    pool: ClassPool | None,
    outputs: SiteOutputs | None,
    read: Read | None,
    per_example: bool = False,
) -> Iterator[tuple[str, list[Regression]]]:
    """Each group that some layer reads, with the regressions of these layers."""
    consumers = find_consumers(traced, spec, solvable)
    if not consumers:
        return
    measure_sensitivity(
        traced, spec, states, consumers, calibration, shares, pool, read or any_output(ANY)
    )
    gather_products(traced, states, consumers, calibration, outputs)
    for name in track(list(dict.fromkeys(consumer.group for consumer in consumers)), "units"):
        of_group = [consumer for consumer in consumers if consumer.group == name]
        units = len(states) * spec.group(name).size
        yield name, [consumer.regression(units, per_example) for consumer in of_group]
        for consumer in of_group:
            consumer.sums.clear()
