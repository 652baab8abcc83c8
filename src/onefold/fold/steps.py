"""The steps of a merge, each a function of the plan and of the results of earlier steps.

    trace -> align -> fold -> repair -> polish

A step returns its result and enters its numbers into the report.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from onefold.alignment import Alignment, Targets, align, measure_targets, trace_on
from onefold.batches import RankShare
from onefold.batchnorm import neutralized, norms_of, reestimate
from onefold.caches import clear_eval_caches, fill
from onefold.copying import copied
from onefold.counting import counted
from onefold.ensemble.class_shares import EVEN, pooled
from onefold.ensemble.mean_choice import LOGITS, choose_mean
from onefold.ensemble.pool import ClassPool
from onefold.errors import DataError, Note, NothingToAlignError, TraceError
from onefold.fold.average import average, owner_of
from onefold.fold.distillation import Polish
from onefold.fold.distillation import polish as distil
from onefold.fold.held_out import scored
from onefold.fold.mapped import MappedStates
from onefold.fold.merge_report import CHOOSING, MergeReport
from onefold.fold.network_fold import Folded, FoldJob, takes
from onefold.fold.plan import MergePlan
from onefold.fold.repair import repair
from onefold.fold.repair_choice import HELD, prefers_plain, told
from onefold.fold.unaveraged import keep, unaveraged
from onefold.measure.paired import difference
from onefold.sources import on_disk
from onefold.symmetry import SymmetrySpec, TracedNetwork, solve

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Structure:
    """The graph of the network and its symmetries, if they are needed and known.

    Attributes:
        traced: the traced graph.
        spec: the symmetries.
    """

    traced: TracedNetwork | None = None
    spec: SymmetrySpec | None = None


def trace_step(plan: MergePlan[M], report: MergeReport) -> Structure:
    """Trace the reference and find its symmetries.

    Raises:
        TraceError: the network cannot be traced, and alignment or fold need the graph. If only
            repair needs it, a note is entered instead.
    """
    given = plan.align.spec if isinstance(plan.align, Alignment) else None
    repairs = plan.repair in ("auto", "full") and not plan.optional
    if plan.data is None or not (plan.graph or repairs):
        return Structure(None, given)
    with report.timed("trace"):
        try:
            traced = trace_on(plan.models[plan.base], plan.data)
        except TraceError as error:
            asked = plan.named and plan.align is not None
            if plan.graph and (asked or not plan.optional):
                raise
            lost = "the network is used as it is" if plan.graph else ""
            lost = lost or "only batch-norm statistics can be repaired"
            report.warnings.append(f"{lost}: {error}")
            return Structure()
        return Structure(traced, given or solve(traced))


def align_step(plan: MergePlan[M], structure: Structure, report: MergeReport) -> Alignment | None:
    """The alignment: computed, given, or None for the members as they are.

    Raises:
        NothingToAlignError: nothing can be aligned, and a matcher was asked for by name. A note is
            entered instead if the matcher is the default, or if the network takes all its features
            for positions: such networks are aligned as they are.
        DataError: the data is too little for the matcher, and it was asked for by name, or the fold
            needs it. A note is entered instead if the fold does without.
    """
    if plan.align is None or (plan.optional and structure.traced is None):
        return None
    if isinstance(plan.align, Alignment):
        report.describe(plan.align, computed=False)
        return plan.align
    try:
        alignment = align(
            plan.models,
            plan.data,
            method=plan.align,
            spec=structure.spec,
            reference=plan.reference,
            seed=plan.seed,
            traced=structure.traced,
        )
    except NothingToAlignError as error:
        if plan.named and not error.fixed:
            raise
        report.warnings.append(
            f"nothing was aligned, and the networks are averaged as they are: {error}"
        )
        report.align, report.settings["align"] = "none", {}
        return None
    except DataError as error:
        if plan.named or not plan.optional:
            raise
        report.warnings.append(f"nothing was aligned, so that no average was tried: {error}")
        return None
    report.describe(alignment)
    return alignment


@dataclass
class Repairer(Generic[M]):
    """Repairs folded networks as a plan says, with targets that are measured once.

    Attributes:
        plan: the merge.
        structure: the graph and the symmetries.
        alignment: the maps of the members.
    """

    plan: MergePlan[M]
    structure: Structure
    alignment: Alignment | None
    _targets: Targets | None = field(default=None, repr=False)

    def __call__(
        self, network: nn.Module, mode: str, report: MergeReport, based: bool = True
    ) -> None:
        """Repair a network in place.

        Args:
            network: the network.
            mode: one of REPAIRS.
            report: gets the numbers.
            based: as `Folded.based`.
        """
        if mode == "none" or self.plan.data is None:
            return
        targets = self._targets_of(mode, report) if based else None
        if targets is None or not self._by_targets(network, mode, targets, report):
            self._statistics_alone(network, report)

    def _targets_of(self, mode: str, report: MergeReport) -> Targets | None:
        """The members' means and deviations; None if only batch norms are re-estimated."""
        traced, spec = self.structure.traced, self.structure.spec
        if mode == "batchnorm" and self.alignment is None:
            return None
        if traced is None or spec is None or self.plan.data is None:
            return None
        if self._targets is None:
            try:
                with report.timed("targets"):
                    self._targets = measure_targets(
                        self.plan.models, self.plan.data, self.alignment, spec=spec, traced=traced
                    )
            except TraceError as error:
                self._untraced(error, mode, report)
                return None
        report.read("targets of repair", self._targets.examples)
        return self._targets

    def _by_targets(
        self, network: nn.Module, mode: str, targets: Targets, report: MergeReport
    ) -> bool:
        """REPAIR towards the targets; False if a batch needs a graph that cannot be traced."""
        spec, data = self.structure.spec, self.plan.data
        assert spec is not None
        assert data is not None
        norms = {norm.node for norm in spec.norms}
        wanted = {n: t for n, t in targets.layers.items() if mode != "batchnorm" or n in norms}
        batches, count = counted(data)
        try:
            done = repair(network, batches, spec, wanted, traced=self.structure.traced)
        except TraceError as error:
            self._untraced(error, mode, report)
            return False
        shared = isinstance(data, RankShare) and data.sharded  # other ranks read the rest
        report.read("repair", targets.examples if shared else count.examples)
        report.repaired = asdict(done)
        if done.dead:
            report.warnings.append(
                f"{done.dead} channels of the folded network never vary; repair shifted but did"
                " not scale them"
            )
        return True

    def _untraced(self, error: TraceError, mode: str, report: MergeReport) -> None:
        """Handle a batch of another size whose operators cannot be traced.

        A note is entered if repair is automatic and nothing else needed the graph.

        Raises:
            TraceError: it is not, or something did.
        """
        if self.alignment is not None or mode != "auto" or self.plan.fold.traced:
            raise error
        report.warnings.append(f"only batch-norm statistics can be repaired: {error}")
        self.structure = Structure()

    def _statistics_alone(self, network: nn.Module, report: MergeReport) -> None:
        assert self.plan.data is not None
        batches, count = counted(self.plan.data)
        norms = reestimate(network, batches) if norms_of(network) else 0
        report.read("repair", count.examples)
        report.repaired = {"norms": norms, "layers": 0}
        if norms == 0:
            report.warnings.append("the network has no batch norm, so nothing was repaired")


@dataclass(frozen=True)
class MergeJob(FoldJob):
    """The job that a merge gives to its fold.

    Attributes:
        network: the reference, whose copies get folded states.
        repairer: repairs the candidates that a fold scores.
        mode: the mode of their repair, one of REPAIRS.
        report: the report of the merge.
    """

    network: nn.Module = field(default_factory=nn.Identity)
    repairer: Repairer[Any] | None = None
    mode: str = "none"
    report: MergeReport | None = None

    def average(self, shares: Sequence[float]) -> dict[str, Tensor]:
        """The plain average of the states by these shares."""
        return self.complete(average(self.states, shares, reference=self.reference), shares)

    def complete(self, state: dict[str, Tensor], shares: Sequence[float]) -> dict[str, Tensor]:
        """A folded state with what is not averaged from one member, and norms folded away."""
        whole = keep(state, self.states, self.kept, shares, self.reference)
        if self.alignment is None or not self.alignment.folds_norms:
            return whole
        return neutralized(whole, self.alignment.spec.layers)

    def plain(self, state: Mapping[str, Tensor]) -> nn.Module:
        """The network with that state, not repaired."""
        return _filled(self.network, state)

    def repaired(self, state: Mapping[str, Tensor], based: bool = True) -> nn.Module:
        """The network with that state, repaired as the merge will repair it."""
        network = self.plain(state)
        if self.repairer is not None and self.report is not None:
            self.repairer(network, self.mode, copy.deepcopy(self.report), based)
        return network


def made_of(folded: Folded, reference: nn.Module) -> nn.Module:
    """The network that a fold made, of its own widths or of the reference's."""
    return _filled(folded.network or reference, folded.state)


def _filled(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    made = copied(network)
    fill(made, state)
    clear_eval_caches(made)
    return made


def goal_step(plan: MergePlan[M], report: MergeReport) -> MergePlan[M]:
    """The plan with the ensemble that fold and polish aim at.

    The pool that "classes" stands for is estimated once. What least squares would choose is chosen
    here, so that polish has the same aim.
    """
    goal = plan.goal
    if goal is None and plan.whole is not None:
        task = plan.scoring.named
        chosen = LOGITS
        if task is None or task.classes:
            chosen = choose_mean(plan.models, plan.whole, plan.output, plan.weights)
        report.read("choice of the ensemble", chosen.examples)
        report.warnings += chosen.notes
        fold = dataclasses.replace(plan.fold, ensemble=chosen.name)  # type: ignore[type-var]
        report.settings["fold"] = fold.settings()
        return dataclasses.replace(plan, goal=chosen.name, fold=fold)
    if goal == "classes" and plan.whole is not None:
        goal = pooled(goal, plan.models, plan.whole, plan.output)
        report.read("shares of classes", goal.examples if isinstance(goal, ClassPool) else 0)
        report.warnings.append(EVEN)
    if not isinstance(goal, ClassPool):
        return plan
    if goal.estimated:
        report.warnings += goal.doubts
    fold = plan.fold
    if takes(fold, "ensemble"):
        fold = dataclasses.replace(fold, ensemble=goal)  # type: ignore[type-var]
    return dataclasses.replace(plan, goal=goal, fold=fold)


def fold_step(
    plan: MergePlan[M],
    structure: Structure,
    alignment: Alignment | None,
    repairer: Repairer[M],
    report: MergeReport,
) -> tuple[M, Folded]:
    """The members as one network, not repaired yet, and the result of the fold."""
    with report.timed("apply and fold"):
        job = job_of(plan, structure, alignment, repairer, report)
        folded = plan.fold.fold(job)
        network: M = made_of(folded, job.network)  # type: ignore[assignment]
    enter(folded, network, report)
    return network, folded


def job_of(
    plan: MergePlan[M],
    structure: Structure,
    alignment: Alignment | None,
    repairer: Repairer[M],
    report: MergeReport,
) -> MergeJob:
    """What the merge hands over to its fold; what is not averaged is entered into the report."""
    first = plan.models[plan.base]
    mapped = MappedStates(plan.models, alignment)
    states: Sequence[Mapping[str, Tensor]] = mapped if on_disk(plan.models) else list(mapped)
    left = unaveraged(first, plan.models, states, plan.base)
    report.kept = left.kept
    report.warnings += left.warnings(owner_of(plan.weights, plan.base))
    return MergeJob(
        models=plan.models,
        states=states,
        shares=plan.weights,
        reference=plan.base,
        alignment=alignment,
        spec=structure.spec,
        traced=structure.traced,
        data=plan.whole,
        validation=plan.validation,
        seed=plan.seed,
        kept=left.kept,
        output=plan.output,
        scoring=plan.scoring,
        always=plan.asked_repair,
        evidence=plan.evidence,
        network=first,
        repairer=repairer,
        mode=plan.repair,
        report=report,
    )


def enter(folded: Folded, network: nn.Module, report: MergeReport) -> None:
    """Enter the result of a fold into the report."""
    report.folded = folded.details
    report.chosen = list(folded.chosen)
    report.parameters = sum(p.numel() for p in network.parameters())
    report.read("fold", int(folded.details.get("examples", 0)))
    report.read(CHOOSING, int(folded.details.get("validation examples", 0)))
    report.warnings += folded.warnings


def repair_step(
    plan: MergePlan[M], network: M, folded: Folded, repairer: Repairer[M], report: MergeReport
) -> None:
    """Repair the folded network in place, unless its fold needs none and none was asked for.

    What was not aligned keeps its repair unless labels speak against it (`repair_choice.py`).
    """
    report.repair = plan.repair if folded.repair or plan.asked_repair else "none"
    doubtful = report.repair == "auto" and repairer.alignment is None
    before = copied(network) if doubtful and plan.validation is not None else None
    with report.timed("repair"):
        repairer(network, report.repair, report, folded.based)
    done = report.repaired
    if not doubtful or done.get("norms", 0) + done.get("layers", 0) <= done.get("settled", 0):
        return
    if before is None or plan.validation is None:
        report.warnings.append(Note(HELD))
        return
    with report.timed("choose repair"):
        without, repaired = scored([before, network], plan.validation, plan.output, plan.scoring)
    gain = difference(without, repaired)
    report.warnings.append(told(gain))
    report.read(CHOOSING, gain.n)
    if prefers_plain(gain):
        fill(network, before.state_dict())
        clear_eval_caches(network)
        report.repair, report.repaired = "none", {}


def polish_step(plan: MergePlan[M], network: M, report: MergeReport) -> M:
    """The network distilled from the members' ensemble, if that was asked for."""
    if plan.polish is None or plan.whole is None:
        return network
    settings: Polish = dataclasses.replace(plan.polish, ensemble=plan.goal)
    with report.timed("polish"):
        result = distil(
            network,
            plan.models,
            plan.whole,
            settings,
            task=plan.scoring.task,
            seed=plan.seed,
            output=plan.output,
        )
    report.polished = result.to_dict()
    report.warnings += result.notes
    report.read("polish", result.examples)
    return result.model
