"""What "auto" stands for in a merge: told from the members before anything is traced or aligned.

    fold="auto"     see `auto.py`; the graph and an alignment are needed only if candidates are
    align="auto"    members that share an origin as they are, others by DEFAULT

The rule is that of `onefold.comparison`.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from torch import nn

from onefold.batches import RankShare, batches, device_of, shard_for_rank
from onefold.batchnorm import norms_of
from onefold.comparison import Relation, gather
from onefold.comparison.origin import NEAR, likeness
from onefold.errors import DataError, Note
from onefold.fold.auto import Auto
from onefold.fold.candidates import aim
from onefold.fold.held_out import has_labels, held_out
from onefold.fold.merge_report import MergeReport
from onefold.fold.plan import MergePlan
from onefold.fold.told_task import output_of, told_task

M = TypeVar("M", bound=nn.Module)
ONE_BATCH = (
    "the labels were not used, as the data cannot be split into batches to fold on and batches to"
    " choose by; pass `validation`, or smaller batches (--batch-size)"
)


def choose_step(plan: MergePlan[M], report: MergeReport) -> MergePlan[M]:
    """The plan with what "auto" stands for.

    Raises:
        DataError: as `onefold.comparison.gather`, if the fold is "auto".
    """
    if isinstance(plan.fold, Auto):
        with report.timed("compare"):
            return _for_auto(plan, report)
    if not plan.named and plan.align is not None and _average_will_do(plan, report):
        return dataclasses.replace(plan, align=None, repair=_statistics_alone(plan))
    return plan


def _for_auto(plan: MergePlan[M], report: MergeReport) -> MergePlan[M]:
    """The plan for the fold "auto": no alignment and no graph unless candidates need them."""
    plan = _with_labels(plan, report)
    data, labelled = plan.whole, plan.validation
    assert data is not None
    evidence = gather(plan.models, data, plan.output, labelled=labelled, task=plan.scoring.named)
    report.read("comparison", evidence.knowledge.examples)
    goal = plan.goal
    if not plan.asked_goal:
        goal = aim(evidence, None)
    shared, contest = evidence.origin.shared, evidence.relation is Relation.DIFFERENT
    align, repair = plan.align, plan.repair
    if not plan.named and (shared or labelled is None):
        align = None
    if shared and align is None:
        repair = _statistics_alone(plan)
    return dataclasses.replace(
        plan,
        align=align,
        repair=repair,
        goal=goal,
        evidence=evidence,
        graph=labelled is not None or contest or align is not None,
        optional=True,
    )


def _with_labels(plan: MergePlan[M], report: MergeReport) -> MergePlan[M]:
    """The plan with batches to choose by: given, or the last of the data if these have classes.

    What is chosen by is taken out of the data, so that nothing else reads it.
    """
    data = plan.whole
    assert data is not None
    if not has_labels(data, plan.validation) or plan.validation is not None:
        return plan
    model = plan.models[plan.base]
    first = next(batches(data, device_of(model), "calibration data"))
    try:
        task = told_task(model, first, plan.output, plan.scoring, needed=True)
        assert task is not None
        output = output_of(model, first, plan.output, task, "choosing by labels")
    except DataError as error:
        report.warnings.append(Note(f"the labels of the data were not used: {error}"))
        return plan
    rest, labelled = held_out(data, None, needed=False)
    if rest is None or labelled is None:
        report.warnings.append(Note(ONE_BATCH))
        return plan
    return dataclasses.replace(
        plan,
        data=shard_for_rank(rest, None),
        validation=labelled,
        output=output,
        scoring=plan.scoring.at(task),
    )


def _average_will_do(plan: MergePlan[M], report: MergeReport) -> bool:
    """Whether members of a named fold share an origin, so that they need no alignment."""
    data = plan.data
    if data is None or (isinstance(data, RankShare) and data.sharded):
        return False  # every rank would judge by other examples
    with report.timed("compare"):
        if likeness(plan.models) < NEAR:
            return False
        try:
            assert plan.whole is not None
            evidence = gather(plan.models, plan.whole, plan.output, task=plan.scoring.named)
        except DataError:  # which output is meant is not known, and an average needs none
            return False
    if not evidence.origin.shared:
        return False
    report.warnings.append(Note(f"nothing was aligned: {evidence.finding}"))
    return True


def _statistics_alone(plan: MergePlan[M]) -> str:
    """The repair of members that are averaged as they are: of batch norms, unless it was named."""
    if plan.asked_repair or plan.repair == "none":
        return plan.repair
    return "batchnorm" if norms_of(plan.models[plan.base]) else "none"


__all__ = ["choose_step"]
