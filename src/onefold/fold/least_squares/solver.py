"""A least-squares fold in steps: rank the units, choose widths, build the network, solve it.

What does not depend on the widths (the trace, the members' outputs, the ranking of units) is found
once, so that several folds of the same members, each of another width, cost little more than one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, nn

from onefold.alignment import Alignment
from onefold.ensemble.class_shares import EVEN, pooled
from onefold.ensemble.pool import ClassPool, mean_pool
from onefold.fold.least_squares.details import Settings, cost_details, details_of
from onefold.fold.least_squares.distance import distances
from onefold.fold.least_squares.logistic import refit
from onefold.fold.least_squares.means import match_means
from onefold.fold.least_squares.output_layers import Read, any_output
from onefold.fold.least_squares.outputs import SiteOutputs
from onefold.fold.least_squares.plan import Plan, channels_last, make_plan
from onefold.fold.least_squares.ranking import NEAREST, UNITS, Ranking
from onefold.fold.least_squares.recurrent import Cell, CellTarget
from onefold.fold.least_squares.recurrent_targets import Steps, recurrent_targets
from onefold.fold.least_squares.resized import Frame, own_frame, resizable, resized_frame
from onefold.fold.least_squares.scales import restore_scales
from onefold.fold.least_squares.selection import UnitSelection, alignment_of, side_by_side
from onefold.fold.least_squares.solve import solve_sites
from onefold.fold.least_squares.targets import site_targets
from onefold.fold.least_squares.units import choose_units, rank_units
from onefold.fold.network_fold import Folded, FoldJob
from onefold.widths.budget import Budget
from onefold.widths.costs import costs_of

T = TypeVar("T")
IN_MEMORY = 3  # the rows of so many members fit in memory at once, as the targets of others do


class Solver:
    """Folds of one job by one method, of any widths.

    Args:
        settings: the method.
        job: what the merge hands over.
        once: only one fold is asked for, so that memory is given back as soon as possible.

    Raises:
        SettingError, TraceError, DataError: as `make_plan`.
    """

    def __init__(self, settings: Settings, job: FoldJob, once: bool = True) -> None:
        self.settings, self.job, self.once = settings, job, once
        self.plan: Plan = make_plan(job, self._pool(), settings.rows)
        plan = self.plan
        self.outputs = SiteOutputs(plan.traced, plan.members, plan.sites, plan.calibration)
        self._noted = len(plan.notes)

    def fold(self, width: float | None = None, budget: Budget | None = None) -> Folded:
        """The folded network.

        Args:
            width: the share of each group's units that it has; None: as many as one member.
            budget: what it may cost, spread over the groups; None: see `width`.

        Raises:
            SettingError: the budget is below the least possible cost, or no unit can be taken out.
            DataError: the data does not serve, or a network gives values that are not finite.
        """
        keep, sized = self.settings.keep, width is not None or budget is not None
        if not self._pruning or (self.once and not sized and keep in (None, UNITS)):
            return self._solved(self._by_units(choose_units) if self._pruning else {})[0]
        ranking = self.ranking
        found = {
            way: self._solved(ranking.selections(way, width, budget), priced=True)
            for way in ranking.ways(keep or NEAREST, width, budget)
        }
        chosen, gaps = next(iter(found)), {}
        if len(found) > 1:
            networks = [(frame.traced, folded.state) for folded, frame in found.values()]
            apart = distances(self.plan, networks, self._read)
            gaps = dict(zip(found, apart, strict=True))
            chosen = min(found, key=lambda way: gaps[way])
        if self.once:
            self.plan.members.clear()
        folded = found[chosen][0]
        told = {"keep": chosen, "distances": gaps} if len(self.plan.shares) > 1 else {}
        return dataclasses.replace(folded, details={**folded.details, **told})

    def _solved(
        self, selections: Mapping[str, UnitSelection], priced: bool = False
    ) -> tuple[Folded, Frame]:
        """The network of these units, and the frame in which it was solved."""
        plan, job = self.plan, self.job
        del plan.notes[self._noted :]
        if priced:
            plan.notes.extend(dict.fromkeys(self.ranking.fixed.values()))
        self._note(selections)
        with torch.no_grad():
            basis = self._basis(selections)
            frame = self._frame(selections, basis.average)
            targets = self._targets(basis)
            if self.once and not priced:
                plan.members.clear()
            state = {name: value.clone() for name, value in channels_last(basis.average).items()}
            solved = solve_sites(
                frame.traced,
                state,
                basis.priors,
                frame.sites,
                plan.calibration,
                targets.sites,
                self.outputs.samples,
                self.settings.ridge,
                list(zip(frame.recurrent, targets.cells, targets.steps, strict=True)),
            )
            if plan.by_class:
                self._match_class_means(frame, state, targets.sites)
            heads = self._refit(frame, state, targets.sites)
            solved_layers = [layer for site in frame.sites for layer in site.layers]
            restore_scales(state, solved_layers, job.models[plan.reference].state_dict())
        folded = Folded(
            {name: tensor.contiguous() for name, tensor in state.items()},
            repair=False,
            details={
                **(cost_details(self.ranking.costs, selections) if priced else {}),
                **details_of(plan, self.settings, solved, selections),
                "heads": heads,
            },
            warnings=list(plan.notes),
            based=not selections,
            wants_alignment=self._pruning and not selections and job.alignment is None,
            network=frame.network,
        )
        return folded, frame

    def check(self, budgets: Sequence[Budget]) -> None:
        """Refuse budgets before anything is solved.

        Raises:
            SettingError: one of them is below the least possible cost.
        """
        for budget in budgets:
            for way in self.ranking.ways(self.settings.keep or NEAREST, None, budget):
                self.ranking.widths(way, None, budget)

    @property
    def _pruning(self) -> bool:
        return self.settings.target == "pruning"

    @property
    def _recorded(self) -> SiteOutputs | None:
        """What takes up the members' outputs as they run for another purpose."""
        return self.outputs if len(self.plan.members) <= IN_MEMORY else None

    @property
    def _read(self) -> Read:
        node = self.plan.output_node
        return any_output(self.job.output) if node is None else node.read

    def _pool(self) -> ClassPool | None:
        """The pool that outputs aim at, led by the members' shares; None for the mean of logits."""
        job, wanted = self.job, self.settings.ensemble
        assert job.data is not None
        assert wanted is not None
        ensemble = pooled(wanted, job.models, job.data, job.output)
        if isinstance(ensemble, ClassPool):
            return ensemble.led_by(job.shares)
        return mean_pool(job.shares) if ensemble == "probabilities" else None

    @cached_property
    def ranking(self) -> Ranking:
        """The units of all members in the order in which they can be spared."""
        plan, ranks = self.plan, self._by_units(rank_units)
        network = self.job.models[plan.reference]
        costs = costs_of(plan.traced, plan.spec, plan.calibration.batches[0])
        fixed = resizable(network, plan.spec, list(ranks), plan.calibration)
        return Ranking(plan, ranks, costs, fixed)

    def _by_units(self, judge: Callable[..., dict[str, T]]) -> dict[str, T]:
        """What a function of `units.py` says of each group, from the members' outputs."""
        plan = self.plan
        return judge(
            plan.traced,
            plan.spec,
            plan.members,
            plan.calibration,
            plan.shares,
            plan.reference,
            plan.solvable,
            plan.pool,
            self._recorded,
            self._read,
        )

    def _frame(
        self, selections: Mapping[str, UnitSelection], average: Mapping[str, Tensor]
    ) -> Frame:
        """The network that is solved, of the members' widths or of those selected."""
        widths = {name: len(own.unit) for name, own in selections.items() if own.resizes}
        if not widths:
            return own_frame(self.plan)
        network: nn.Module = self.job.models[self.plan.reference]
        return resized_frame(self.plan, network, widths, average)

    def _note(self, selections: Mapping[str, UnitSelection]) -> None:
        """Add to the plan's notes where the fold departs from what was asked for."""
        plan = self.plan
        pool, notes = plan.pool, plan.notes
        if self._pruning and not selections:
            notes.append(
                "no unit of the network can be taken from one member alone, so that means of"
                " units were aimed at instead of pruning"
            )
        if self.settings.ensemble == "classes":
            notes += [EVEN, *(pool.doubts if pool is not None else [])]
        if pool is not None and not any(plan.is_pooled(site) for site in plan.sites):
            notes.append(
                "no layer that is solved puts out the logits, so that its output aims at the mean"
                " of the members' and not of probabilities"
            )

    def _basis(self, selections: Mapping[str, UnitSelection]) -> _Basis:
        """The job's basis, or that of the selected units if there are any."""
        plan, job = self.plan, self.job
        if not selections:
            priors = {"reference": job.states[plan.reference], "average": plan.average}
            return _Basis(job.alignment, job.states, plan.average, priors, selections)
        count = len(plan.members)
        alignment = alignment_of(selections, job.alignment, plan.spec, count, plan.reference)
        aligned = [alignment.apply_to_state(state, k) for k, state in enumerate(plan.members)]
        joined = side_by_side(aligned, plan.spec, selections, plan.shares, plan.average)
        return _Basis(alignment, aligned, joined, {"members side by side": joined}, selections)

    def _targets(self, basis: _Basis) -> _Targets:
        """The targets of all layers and of all recurrent cells."""
        plan, settings = self.plan, self.settings
        sites = site_targets(
            self.outputs,
            plan.spec,
            basis.aligned,
            basis.alignment,
            plan.shares,
            plan.reference,
            settings.target,
            settings.threshold,
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
            settings.target,
            basis.selections,
        )
        return _Targets(sites, cells, steps)

    def _match_class_means(
        self, frame: Frame, state: dict[str, Tensor], targets: Sequence[Tensor]
    ) -> None:
        """Shift the logits in `state` so that their mean probabilities are the pool's."""
        plan, samples = self.plan, self.outputs.samples
        for number, site in enumerate(frame.sites):
            if plan.is_pooled(site):
                rows = targets[number]
                match_means(frame.traced, state, site, plan.calibration, samples[number], rows)

    def _refit(
        self, frame: Frame, state: dict[str, Tensor], targets: Sequence[Tensor]
    ) -> list[dict[str, object]]:
        """Fit the output layer by the cross-entropy, if that was asked for; plain data of it."""
        if self.settings.head != "logistic":
            return []
        plan, samples = self.plan, self.outputs.samples
        found = [
            refit(frame.traced, state, site, plan.calibration, samples[number], targets[number])
            for number, site in enumerate(frame.sites)
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
