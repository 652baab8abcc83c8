"""Least-squares folding: every layer refitted, in graph order, to the aligned members' features.

The weights of a layer bring its output on the folded network's own activations X as near as
possible to the target T that the aligned members set:

    minimise over W, b   |X W + 1 b' - T|^2 / n + lambda m |W - W0|^2.

X comes from the folded prefix. So every layer repairs the drift of those before it, and no
statistics need repair afterwards.

Sources. Least squares of layers from activations: Jin, Ren, Preotiuc-Pietro & Cheng 2023, "Dataless
Knowledge Fusion by Merging Weights of Language Models" (RegMean, arXiv 2212.09849), where X is each
member's own. Nasery, Hayase, Koh & Oh 2024, "PLeaS: Merging Models with Permutations and Least
Squares" (arXiv 2407.02447), where X is that of permuted members.

The targets are in `targets.py`, sums of a residual stream in `layers.py`, the ridge in `ridge.py`.

Cost: one forward pass of each member, one of the folded network, and the products X'X of sampled
rows. Pruning costs more, see `units.py`.

Memory, in all:

- the calibration batches;
- the live values of the folded network over all batches, at most LIVE bytes (fewer examples are
  used if they would take more);
- the sampled targets, three or four times, at most ROWS bytes (fewer rows are used if they would
  take more);
- D^2 float64 numbers for a layer whose matrix has D inputs, one layer at a time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from onefold.alignment import Alignment
from onefold.arguments import check_fields
from onefold.ensemble.class_shares import EVEN, pooled
from onefold.ensemble.mean_choice import choose_mean
from onefold.ensemble.names import EnsembleName, check_ensemble
from onefold.ensemble.pool import ClassPool, mean_pool
from onefold.errors import DataError, SettingError, nearest
from onefold.fold.average import folds
from onefold.fold.least_squares.logistic import refit
from onefold.fold.least_squares.means import match_means
from onefold.fold.least_squares.output_layers import any_output
from onefold.fold.least_squares.outputs import SiteOutputs
from onefold.fold.least_squares.plan import Plan, channels_last, check_job, make_plan
from onefold.fold.least_squares.recurrent import Cell, CellTarget
from onefold.fold.least_squares.recurrent_targets import Steps, recurrent_targets
from onefold.fold.least_squares.rows import Sample
from onefold.fold.least_squares.selection import UnitSelection, alignment_of, side_by_side
from onefold.fold.least_squares.solve import SolvedLayer, solve_sites
from onefold.fold.least_squares.targets import TARGETS, site_targets
from onefold.fold.least_squares.units import choose_units
from onefold.fold.network_fold import Folded, FoldJob, NetworkFold, plain
from onefold.inference import Output

HEADS = ("squares", "logistic")
IN_MEMORY = 3  # the rows of so many members fit in memory at once, as the targets of others do


@folds.register("least_squares")
@dataclass(frozen=True)
class LeastSquares(NetworkFold):
    """The weights that come nearest to the members' features, layer by layer.

    Attributes:
        target: how the members' features make one target: "pruning", "correlation", "equal" or
            "selection" (see `targets.py`).
        rows: sampled positions of a layer's output over all examples.
        ridge: lambda, relative to the mean variance of the inputs. None chooses it for each layer
            on the last 15 % of the examples.
        threshold: the least correlation of units whose mean is taken, of target "selection".
        ensemble: what the network's output aims at. "logits" is the mean of the members' logits.
            "probabilities" is the mean of a classifier's probabilities, which is better if members
            are sure of what they do not know. None takes the mean of logits unless that of a
            classifier's probabilities answers clearly more evenly (`ensemble/mean_choice.py`). A
            pool (`onefold.class_pool`) is better still if they saw the classes in different shares.
            "classes" is the pool that is estimated from the calibration data, whose classes are
            taken to be even.
        head: how the layer that puts out the logits is fitted: by "squares" as every other, or
            "logistic", by the cross-entropy to the ensemble's probabilities (`logistic.py`), which
            follows a pool of classes better where a member never saw one; `ensemble` None is then
            "probabilities".

    Raises:
        SettingError: a setting is out of range or has no such name.
    """

    target: str = "pruning"
    rows: int = 20000
    ridge: float | None = None
    threshold: float = 0.5
    ensemble: EnsembleName | ClassPool | None = None
    head: str = "squares"

    repairs: ClassVar[bool] = False

    @property
    def aligns(self) -> bool:
        """Whether the target lies in the alignment's basis; pruning takes units as they are."""
        return self.target != "pruning"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.target not in TARGETS:
            raise SettingError(
                f"There is no target '{self.target}' of least squares;"
                f" {nearest(self.target, TARGETS)}"
            )
        if self.ensemble is not None:
            check_ensemble(self.ensemble)
        if self.head not in HEADS:
            raise SettingError(
                f"There is no head '{self.head}' of least squares; {nearest(self.head, HEADS)}"
            )
        if self.head == "logistic" and self.ensemble is None:
            object.__setattr__(self, "ensemble", "probabilities")
        if self.head == "logistic" and self.ensemble == "logits":
            raise SettingError(
                "A logistic head is fitted to probabilities, not to the mean of logits; give"
                " ensemble='probabilities' or 'classes', or a pool."
            )
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
        """The folded state.

        `Folded.details` names every layer that was solved, and the weights that stay averages.

        Raises:
            SettingError: the job has no data or no traced network.
            TraceError: no layer can be solved.
            DataError: the data does not serve, or a network gives values that are not finite.
        """
        _, _, data = check_job(job)
        if self.ensemble is None:
            chosen = choose_mean(job.models, data, job.output, job.shares)
            done = dataclasses.replace(self, ensemble=chosen.name).fold(job)
            return dataclasses.replace(done, warnings=[*done.warnings, *chosen.notes])
        try:
            return self._solved(job)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise DataError(
                "Least squares cannot be solved, as features of the members are too large, or too"
                f" far apart in size, for their products ({str(error).split('.')[0]}); look for"
                " weights out of all proportion, or use fold='average'."
            ) from error

    def _solved(self, job: FoldJob) -> Folded:
        """The folded state, of a job that has been checked."""
        plan = make_plan(job, self._pool(job), self.rows)
        outputs = SiteOutputs(plan.traced, plan.members, plan.sites, plan.calibration)
        selections = self._select(plan, outputs, job.output)
        self._note(plan, selections)
        with torch.no_grad():
            basis = _basis(plan, job, selections)
            targets = self._targets(plan, outputs, basis)
            plan.members.clear()
            state = {name: value.clone() for name, value in channels_last(basis.average).items()}
            solved = solve_sites(
                plan.traced,
                state,
                basis.priors,
                plan.sites,
                plan.calibration,
                targets.sites,
                outputs.samples,
                self.ridge,
                list(zip(plan.recurrent, targets.cells, targets.steps, strict=True)),
            )
            if plan.by_class:
                _match_class_means(plan, state, targets.sites, outputs.samples)
            heads = self._refit(plan, state, targets.sites, outputs.samples)
        return Folded(
            {name: tensor.contiguous() for name, tensor in state.items()},
            repair=False,
            details=self._details(plan, solved, selections) | {"heads": heads},
            warnings=plan.notes,
            based=not selections,
            wants_alignment=self.target == "pruning" and not selections and job.alignment is None,
        )

    def _pool(self, job: FoldJob) -> ClassPool | None:
        """The pool that outputs aim at, led by the members' shares; None for the mean of logits."""
        assert job.data is not None
        assert self.ensemble is not None
        ensemble = pooled(self.ensemble, job.models, job.data, job.output)
        if isinstance(ensemble, ClassPool):
            return ensemble.led_by(job.shares)
        return mean_pool(job.shares) if ensemble == "probabilities" else None

    def _select(self, plan: Plan, outputs: SiteOutputs, output: Output) -> dict[str, UnitSelection]:
        """The units that pruning keeps, by group; none for the other targets."""
        if self.target != "pruning":
            return {}
        node = plan.output_node
        return choose_units(
            plan.traced,
            plan.spec,
            plan.members,
            plan.calibration,
            plan.shares,
            plan.reference,
            plan.solvable,
            plan.pool,
            outputs if len(plan.members) <= IN_MEMORY else None,
            any_output(output) if node is None else node.read,
        )

    def _note(self, plan: Plan, selections: Mapping[str, UnitSelection]) -> None:
        """Add to the plan's notes where the fold departs from what was asked for."""
        pool, notes = plan.pool, plan.notes
        if self.target == "pruning" and not selections:
            notes.append(
                "no unit of the network can be taken from one member alone, so that means of"
                " units were aimed at instead of pruning"
            )
        if self.ensemble == "classes":
            notes += [EVEN, *(pool.doubts if pool is not None else [])]
        if pool is not None and not any(plan.is_pooled(site) for site in plan.sites):
            notes.append(
                "no layer that is solved puts out the logits, so that its output aims at the mean"
                " of the members' and not of probabilities"
            )

    def _refit(
        self,
        plan: Plan,
        state: dict[str, Tensor],
        targets: Sequence[Tensor],
        samples: Sequence[Sequence[Sample]],
    ) -> list[dict[str, object]]:
        """Fit the output layer by the cross-entropy, if that was asked for; plain data of it."""
        if self.head != "logistic":
            return []
        found = [
            refit(plan.traced, state, site, plan.calibration, samples[number], targets[number])
            for number, site in enumerate(plan.sites)
            if plan.is_pooled(site)
        ]
        heads = [one.to_dict() for one in found if one is not None]
        if not heads:
            plan.notes.append(
                "the output layer was solved by least squares and not by logistic regression, which"
                " needs one linear or convolutional layer with a bias that puts out the logits, and"
                " held-out examples"
            )
        return heads

    def _targets(self, plan: Plan, outputs: SiteOutputs, basis: _Basis) -> _Targets:
        """The targets of all layers and of all recurrent cells."""
        sites = site_targets(
            outputs,
            plan.spec,
            basis.aligned,
            basis.alignment,
            plan.shares,
            plan.reference,
            self.target,
            self.threshold,
            basis.selections,
            plan.pool,
            plan.output_node,
        )
        if not plan.recurrent:
            return _Targets(sites, [], [])
        cells, steps = recurrent_targets(
            plan.traced,
            plan.spec,
            plan.members,
            basis.alignment,
            plan.recurrent,
            plan.calibration,
            plan.shares,
            plan.reference,
            self.target,
            basis.selections,
        )
        return _Targets(sites, cells, steps)

    def _details(
        self, plan: Plan, solved: Sequence[SolvedLayer], selections: Mapping[str, UnitSelection]
    ) -> dict[str, Any]:
        """Plain data for the report."""
        members = len(plan.shares)
        counts = {
            name: torch.bincount(selection.member, minlength=members).tolist()
            for name, selection in selections.items()
        }
        other = "is no linear, convolutional or recurrent layer's"
        written = plan.solved
        averaged = {
            name: plan.unsolved.get(name, other)
            for name in plan.traced.parameters
            if name not in written
        }
        pool = plan.pool
        classes = {"classes": pool.to_dict()} if pool is not None and plan.by_class else {}
        return {
            **classes,
            "target": self.target,
            "ensemble": plain(self.ensemble),
            "examples": plan.calibration.examples,
            "layers": [layer.to_dict() for layer in solved],
            "units": counts,
            "averaged": averaged,
        }


@dataclass(frozen=True)
class _Basis:
    """The basis that targets are in, and the states that solutions may be drawn to.

    Attributes:
        alignment: the maps of all members; None for members that were left as they are.
        aligned: the members' states in this basis.
        average: the state that the folded network starts from.
        priors: name -> state dict that a solution may be drawn to.
        selections: group -> the units that pruning keeps.
    """

    alignment: Alignment | None
    aligned: Sequence[Mapping[str, Tensor]]
    average: dict[str, Tensor]
    priors: dict[str, Mapping[str, Tensor]]
    selections: Mapping[str, UnitSelection]


@dataclass(frozen=True)
class _Targets:
    """The targets of a fold.

    Attributes:
        sites: of every site, (rows, channels).
        cells: of every recurrent operator, by cell.
        steps: the sampled steps of every recurrent operator.
    """

    sites: list[Tensor]
    cells: list[dict[Cell, CellTarget]]
    steps: list[Steps]


def _basis(plan: Plan, job: FoldJob, selections: Mapping[str, UnitSelection]) -> _Basis:
    """The job's basis, or that of the selected units if there are any."""
    if not selections:
        priors = {"reference": job.states[plan.reference], "average": plan.average}
        return _Basis(job.alignment, job.states, plan.average, priors, selections)
    count = len(plan.members)
    alignment = alignment_of(selections, job.alignment, plan.spec, count, plan.reference)
    aligned = [alignment.apply_to_state(state, k) for k, state in enumerate(plan.members)]
    joined = side_by_side(aligned, plan.spec, selections, plan.shares, plan.average)
    return _Basis(alignment, aligned, joined, {"members side by side": joined}, selections)


def _match_class_means(
    plan: Plan,
    state: dict[str, Tensor],
    targets: Sequence[Tensor],
    samples: Sequence[Sequence[Sample]],
) -> None:
    """Shift the logits in `state` so that their mean probabilities are the pool's."""
    for number, site in enumerate(plan.sites):
        if plan.is_pooled(site):
            match_means(
                plan.traced, state, site, plan.calibration, samples[number], targets[number]
            )
