"""The plan of a merge: every argument checked, in its final form, before anything slow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import nn

from onefold.alignment import (
    Alignment,
    Matcher,
    StateMatcher,
    as_matcher,
    check_networks,
    differ_in_width,
    in_one_precision,
)
from onefold.batches import (
    Data,
    RankShare,
    batches,
    check_reiterable,
    device_of,
    shard_for_rank,
    unsharded,
)
from onefold.comparison import Evidence
from onefold.copying import check_copyable
from onefold.ensemble.names import EnsembleName, check_ensemble
from onefold.ensemble.pool import ClassPool
from onefold.errors import AlignmentError, MembersError, SettingError, nearest, shown
from onefold.fold.average import normalized
from onefold.fold.distillation import Polish, as_polish, check_distillable, check_polishable
from onefold.fold.least_squares import LeastSquares
from onefold.fold.network_fold import NetworkFold, as_fold, takes
from onefold.fold.told_task import check_goal, output_of, told_task
from onefold.inference import Output, OutputChoice, as_output, run
from onefold.inference.running import eval_mode
from onefold.sources import on_disk
from onefold.tasks import Classification, Scoring

M = TypeVar("M", bound=nn.Module)
REPAIRS = ("auto", "none", "batchnorm", "full")
AUTO = "auto"
DEFAULT = "cca"  # the matcher that "auto" stands for if members do not share an origin


@dataclass(frozen=True)
class MergePlan(Generic[M]):
    """The checked arguments of a merge.

    Attributes:
        models: the members, in one precision.
        data: calibration batches, or this process's share of them.
        align: the matcher; an alignment that was computed before; None: the members are folded as
            they are.
        named: how to align was asked for, so that it is an error if nothing can be aligned.
        fold: the fold with its settings.
        repair: one of REPAIRS.
        polish: the distillation at the end; None: there is none.
        weights: the members' shares, which sum to 1.
        goal: the ensemble that fold and polish aim at; None: least squares chooses one.
        validation: labelled batches to choose by, if there are any besides `data`.
        reference: the member that the others are mapped to; None: a common basis.
        output: which output is meant if scores are needed.
        scoring: the task, and the score that decides.
        seed: of everything random.
        widths: the members differ in width.
        asked_repair: repair was asked for by name.
        asked_goal: an ensemble was asked for.
        graph: the traced graph is needed.
        optional: a network that cannot be traced or aligned is no error; the fold does without.
        evidence: how the members relate, if that was measured.
    """

    models: Sequence[M]
    data: Data | None
    align: Matcher | Alignment | None
    named: bool
    fold: NetworkFold
    repair: str
    polish: Polish | None
    weights: tuple[float, ...]
    goal: EnsembleName | ClassPool | None
    validation: Data | None
    reference: int | None
    output: Output
    scoring: Scoring
    seed: int
    widths: bool
    asked_repair: bool
    asked_goal: bool = False
    graph: bool = False
    optional: bool = False
    evidence: Evidence | None = None

    @property
    def base(self) -> int:
        """The member whose shapes and integer buffers the result has."""
        return self.reference or 0

    @property
    def whole(self) -> Data | None:
        """All of the data, not this process's share."""
        return None if self.data is None else unsharded(self.data)


def plan_merge(
    models: Sequence[M],
    data: Data | None,
    *,
    align: str | Matcher | Alignment,
    fold: str | NetworkFold | Callable[..., Any],
    repair: str,
    polish: int | Polish,
    weights: Sequence[float] | None,
    ensemble: EnsembleName | ClassPool | None,
    validation: Data | None,
    reference: int | None,
    output: OutputChoice,
    scoring: Scoring,
    seed: int,
) -> MergePlan[M]:
    """Check the arguments of `onefold.merge`, which documents them.

    Raises:
        SettingError, MembersError, WeightsError, AlignmentError, DataError: as `onefold.merge`.
    """
    folder, last = as_fold(fold), as_polish(polish)
    if repair not in REPAIRS:
        raise SettingError(f"There is no repair {shown(repair)}; {nearest(repair, REPAIRS)}")
    if ensemble is not None:
        check_ensemble(ensemble)
    aligner = _aligner(align, folder)
    widths = _takes_widths(aligner) and differ_in_width(models)
    check_networks(models, shapes=not widths)
    if not on_disk(models):
        check_copyable(models[0])
    shares = normalized(weights, len(models))
    if isinstance(aligner, Alignment):
        reference = _reference_of(aligner, len(models))
    check_member(reference, len(models))
    if widths and folder.runs:
        raise MembersError(
            f"The fold '{folder.name}' takes networks of one width only; use fold='average'."
        )
    if ensemble is not None and takes(folder, "ensemble"):
        folder = dataclasses.replace(folder, ensemble=ensemble)  # type: ignore[type-var]
    elif ensemble is not None and last is None:
        raise SettingError(
            f"The fold '{folder.name}' aims at no ensemble; leave out `ensemble`, or polish, or use"
            " least_squares."
        )
    mode = "none" if repair == "auto" and not folder.repairs else repair
    if data is None:
        _check_needs_no_data(aligner, folder, mode, last)
    else:
        data = shard_for_rank(check_reiterable(data, "calibration data"), None)
        _check_whole(data, folder, last)
    goal: EnsembleName | ClassPool | None = getattr(folder, "ensemble", "logits")
    if goal is None and not isinstance(folder, LeastSquares):
        goal = "logits"
    if last is not None and last.ensemble is not None:
        goal = last.ensemble
    if ensemble is not None:
        goal = ensemble
    plan = MergePlan(
        models=in_one_precision(models, reference or 0),
        data=data,
        align=aligner,
        named=align != AUTO,
        fold=folder,
        repair=mode,
        polish=last,
        weights=shares,
        goal=goal,
        validation=None if validation is None else check_reiterable(validation, "validation data"),
        reference=reference,
        output=as_output(output),
        scoring=scoring,
        seed=seed,
        widths=widths,
        asked_repair=repair != "auto",
        asked_goal=ensemble is not None or (last is not None and last.ensemble is not None),
        graph=aligner is not None or folder.traced,
    )
    return plan if data is None else _checked_output(plan)


def check_member(reference: int | None, members: int) -> None:
    """Refuse a reference that is no member.

    Raises:
        MembersError: there is no such member.
    """
    if reference is not None and not 0 <= reference < members:
        raise MembersError(
            f"The reference is {reference}, but the members are numbered 0 to {members - 1}."
        )


def _aligner(align: str | Matcher | Alignment, fold: NetworkFold) -> Matcher | Alignment | None:
    """The matcher or alignment that was asked for, or the default if the fold uses one."""
    if isinstance(align, Alignment):
        return align
    if isinstance(align, str) and align == AUTO:
        return as_matcher(DEFAULT) if fold.aligns else None
    return None if isinstance(align, str) and align == "none" else as_matcher(align)


def _takes_widths(align: Matcher | Alignment | None) -> bool:
    if isinstance(align, Alignment):
        return align.specs is not None
    return align is not None and align.widths


def _reference_of(alignment: Alignment, members: int) -> int | None:
    """The reference of an alignment that was computed before."""
    if alignment.members != members:
        raise AlignmentError(
            f"The alignment was computed for {alignment.members} members but {members} were"
            " given; pass all, in order."
        )
    return alignment.reference


def _check_needs_no_data(
    align: Matcher | Alignment | None, fold: NetworkFold, repair: str, polish: Polish | None
) -> None:
    if fold.name == AUTO:
        raise SettingError(
            "The default reads the members' predictions on unlabelled data; pass `data`, or"
            " fold='average', align='none' and repair='none' for the plain average."
        )
    if isinstance(align, Matcher) and isinstance(align, StateMatcher):
        raise SettingError(
            "Without calibration data the networks cannot be traced; pass `data`, or the alignment"
            " that onefold.align(models, method='weights', spec=...) returns."
        )
    if isinstance(align, Matcher) or repair != "none" or fold.traced or polish is not None:
        raise SettingError(
            "Aligning and repairing need calibration data; pass `data`, or use align='none' with"
            " repair='none'."
        )


def _check_whole(data: Data, fold: NetworkFold, polish: Polish | None) -> None:
    """Refuse data of which every rank holds a part if a step needs all of it."""
    if isinstance(data, RankShare) and data.sharded and (polish is not None or fold.runs):
        raise SettingError(
            "Every rank holds a part of the data only, which fold and polish need whole; pass all"
            " of it, or use fold='average'."
        )


def _checked_output(plan: MergePlan[M]) -> MergePlan[M]:
    """The plan with its task and the axis of its classes, as far as labels tell them.

    Raises:
        DataError: a step needs an output or a task that is not known; raised before anything slow.
        SettingError: the task has no ensemble as asked for, or no score to choose by.
    """
    model, data, fold = plan.models[plan.base], plan.whole, plan.fold
    assert data is not None
    source = data
    if fold.labelled and plan.validation is not None:
        source = plan.validation
    first = next(batches(source, device_of(model), "calibration data"))
    # The default does without labels of the data that tell no task (`default.py`).
    chooses = fold.name != AUTO or plan.validation is not None
    needed = fold.labelled and chooses and first.labels is not None
    reads = needed or plan.polish is not None or plan.scoring.named is not None
    meant, scoring = plan.output, plan.scoring
    task = told_task(model, first, meant, scoring, needed=needed) if reads else None
    if task is not None:
        scoring = scoring.at(task)
        meant = output_of(model, first, meant, task, "choosing by labels" if needed else "this")
        check_goal(plan.goal, task)
    elif meant.select is not None:
        with eval_mode([model]):
            run(model, first, meant)
    if plan.polish is not None:
        check_polishable(model, data, meant, task or CLASSES, plan.polish.views)
    elif plan.goal not in (None, "logits", "outputs") and fold.runs:
        check_distillable(model, data, meant, task or CLASSES, CLASSIFIED)
    return dataclasses.replace(plan, output=meant, scoring=scoring)


CLASSES = Classification()
CLASSIFIED = "an ensemble of probabilities or classes"
