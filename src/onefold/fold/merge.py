"""`onefold.merge`: the plan of a merge and its steps trace, align, fold, repair and polish."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import nn

from onefold.alignment import Alignment, Matcher, as_matcher
from onefold.arguments import checked
from onefold.batches import Data
from onefold.distributed import raise_together
from onefold.ensemble.names import EnsembleName
from onefold.ensemble.pool import ClassPool
from onefold.fold.default import choose_step
from onefold.fold.distillation import Polish
from onefold.fold.merge_report import MergeReport, MergeResult
from onefold.fold.network_fold import NetworkFold
from onefold.fold.plan import DEFAULT, MergePlan, plan_merge
from onefold.fold.steps import (
    Repairer,
    align_step,
    fold_step,
    goal_step,
    polish_step,
    repair_step,
    trace_step,
)
from onefold.inference import OutputChoice
from onefold.isolation import isolated
from onefold.sources.agreement import check_ranks_agree
from onefold.tasks import AUTO, TaskChoice, as_scoring
from onefold.weights import repeated

M = TypeVar("M", bound=nn.Module)


@checked
@isolated
def merge(
    models: Sequence[M],
    data: Data | None = None,
    *,
    align: str | Matcher | Alignment = "auto",
    fold: str | NetworkFold | Callable[..., Any] = "auto",
    repair: str = "auto",
    polish: int | Polish = 0,
    weights: Sequence[float] | None = None,
    ensemble: EnsembleName | ClassPool | None = None,
    validation: Data | None = None,
    reference: int | None = 0,
    output: OutputChoice = None,
    task: TaskChoice = AUTO,
    metrics: Any = (),
    by: str | None = None,
    seed: int = 0,
) -> MergeResult[M]:
    """Fold K networks of one architecture into one: trace, align, fold, repair and polish.

    `merge(models, data)` returns one of the members, unless an average or a fold is above it beyond
    noise (`onefold.Auto`): with labels the best, without the one that is nearest to the ensemble.
    `print(result.report)` begins with what was chosen and why.

    Args:
        models: K >= 2 networks of one class and one set of shapes. They are not modified. With
            align="transport" widths may differ; the result has those of the reference.
            `onefold.sources.DiskMembers` stay on disk: beside the reference and the running sum one
            is in memory at a time, except in folds that run networks (least squares) and in
            distillation.
        data: calibration batches (see `onefold.batches`). Labels serve only to choose by, and only
            in folds that do. The batches are read for the moments, for the targets of repair, and
            for repair itself. Needed unless align="none" (or an Alignment), repair="none" and a
            fold by name that runs no networks. Under torch.distributed every process runs its share
            of them and gets the same network.
        align: the name of a matcher; a matcher with settings, as `onefold.CCA(regularization=1.0)`;
            "none" for the networks as they are; or an Alignment of these networks in this order,
            which `onefold.align` computes with further settings. "auto": members that share an
            origin as they are, others by "cca" if the fold uses an alignment; if nothing can be
            moved, the networks are then averaged as they are, with a warning. If a matcher was
            named, that is an error, unless the network takes all its features for positions (a
            Fourier transform over them): such networks are aligned as they are.
        fold: "auto" (`onefold.Auto`), which returns the best member unless something is above it
            beyond noise; the name of a fold (`onefold methods fold`); a fold with settings, as
            `onefold.LeastSquares(ridge=0.1)`; or a function of the members' aligned states. A fold
            that is named is carried out, whatever it is worth.
        repair: "full" gives the layers whose features may move the members' means and deviations
            (REPAIR), not the outputs of the network, and re-estimates batch-norm statistics;
            "batchnorm" only re-estimates them; "none" does nothing; "auto" is "full" if the
            network can be traced, else "batchnorm", and nothing after folds that need no repair
            (least squares, one member alone). Where nothing was aligned, "auto" keeps the repair
            unless `validation` is clearly better without it, and says so. "full" by name is
            "batchnorm" after a fold whose units are not in the alignment's basis (least squares
            towards "pruning", one member alone).
        polish: passes of distillation from the members' ensemble over `data` at the end, or
            `onefold.Polish` with more settings.
        weights: one for each member, divided by their sum; None: equal ones.
        ensemble: the ensemble that least squares and polish aim at: the mean of the members'
            "logits" or of their "probabilities", which is for classifiers and better if members are
            confident on classes they do not know; or a pool that weights each member per class by
            how much of it was in its training data (`onefold.class_pool`). "classes" is the pool
            that is estimated from `data`, whose classes are taken to be even. None: what the fold
            takes by itself (least squares: probabilities where their answers are clearly more
            even, else logits), and logits for polish alone.
        validation: labelled batches for folds that choose by labels (greedy_soup, auto); None: the
            last fifth of `data`, if it has labels. They also decide whether an average without
            alignment is repaired.
        reference: the member that the others are mapped to; None: a basis that all agree on.
        output: which output is meant if the networks return several, and on which axis its
            classes lie (`onefold.inference`). Only what reads scores needs it: polish, folds that
            choose by labels, and ensembles of probabilities or classes.
        task: what the networks are asked, as in `onefold.evaluate`: what is scored where labels
            choose, what polish distils, and which ensembles there are. "auto" tells it from the
            labels, where there are some.
        metrics: further scores to choose by, as in `onefold.evaluate`.
        by: the name of the score that labels choose by; None: the task's first.
        seed: of everything random.

    Raises:
        SettingError, MembersError, AlignmentError: arguments that are unusable or do not fit
            together; raised before anything slow.
        WeightsError, TraceError, DataError: as `onefold.align`.
    """
    with raise_together():
        plan = plan_merge(
            models,
            data,
            align=align,
            fold=fold,
            repair=repair,
            polish=polish,
            weights=weights,
            ensemble=ensemble,
            validation=validation,
            reference=reference,
            output=output,
            scoring=as_scoring(task, metrics, by),
            seed=seed,
        )
    check_ranks_agree(
        plan.models,
        plan.data,
        align=plan.align,
        fold=plan.fold,
        repair=repair,
        polish=plan.polish,
        weights=plan.weights,
        ensemble=ensemble,
        reference=reference,
        seed=seed,
    )
    report = _report(plan)
    plan = choose_step(plan, report)
    structure = trace_step(plan, report)
    alignment = align_step(plan, structure, report)
    repairer = Repairer(plan, structure, alignment)
    plan = goal_step(plan, report)
    told = len(report.warnings)
    network, folded = fold_step(plan, structure, alignment, repairer, report)
    if folded.wants_alignment and not plan.named:
        del report.warnings[told:]
        plan = dataclasses.replace(plan, align=as_matcher(DEFAULT))
        alignment = align_step(plan, structure, report)
        repairer = Repairer(plan, structure, alignment)
        network, folded = fold_step(plan, structure, alignment, repairer, report)
    repair_step(plan, network, folded, repairer, report)
    network = polish_step(plan, network, report)
    if structure.spec is not None:
        report.cover(structure.spec)
    if not (folded.aligned or plan.named):
        alignment = None
        report.leave_unaligned()
    return MergeResult(network, alignment, report)


def _report(plan: MergePlan[M]) -> MergeReport:
    """The report of a merge that has not begun."""
    first = plan.models[plan.base]
    report = MergeReport(
        align="none",
        fold=plan.fold.name,
        repair=plan.repair,
        members=len(plan.models),
        reference=plan.reference,
        weights=plan.weights,
        parameters=sum(p.numel() for p in first.parameters()),
    )
    report.settings = {"align": {}, "fold": plan.fold.settings(), "seed": plan.seed}
    report.warnings += repeated(plan.models)
    return report
