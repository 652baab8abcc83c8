"""`onefold.partial_merge`: one trunk up to a place, and each member's own layers behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from onefold.alignment import Alignment, check_networks, in_one_precision
from onefold.alignment.matchers import Matcher
from onefold.arguments import checked
from onefold.batches import Batch, Data, batches, check_reiterable, device_of
from onefold.errors import MembersError, NothingToAlignError, SettingError
from onefold.fold.average import normalized
from onefold.fold.least_squares import LeastSquares
from onefold.fold.merge import merge
from onefold.fold.merge_report import MergeReport, MergeResult
from onefold.fold.network_fold import NetworkFold, StateFold, as_fold
from onefold.fold.partial.compared import Compared, compare
from onefold.fold.partial.cost import Costs, costs_of
from onefold.fold.partial.heads import HeadState, head_state
from onefold.fold.partial.module import Outputs, PartialMerge, assemble, check_outputs
from onefold.fold.partial.saved import form_of
from onefold.fold.partial.splitting import Split, split_members
from onefold.fold.plan import check_member
from onefold.fold.soup import UniformSoup
from onefold.inference import ClassAxis, Output, OutputChoice, as_output, run
from onefold.inference.running import eval_mode
from onefold.isolation import isolated
from onefold.notebook import card
from onefold.sources.agreement import check_ranks_agree
from onefold.tasks import AUTO, TaskChoice, as_scoring

DEFAULT = "zipit"  # the alignment if nothing was asked for
KEEPING = (LeastSquares, UniformSoup)  # folds with features in the alignment's basis
BASED = ("correlation", "equal", "selection")  # targets of least squares in that basis


@dataclass
class PartialReport:
    """The record of a partial merge.

    Attributes:
        until: the module behind which the networks were cut.
        share: the part of the layers before it, 0 to 1.
        crossing: the number of values that cross.
        heads: how each member reads the trunk: "own" (as it is), "written" (a map in its weights
            that keeps its function), "read" (the map's inverse in the weights that read the trunk),
            "unmerged" (mapped back at run time).
        costs: beside one network and the ensemble.
        merged: the report of the trunk's merge.
        seconds: of all.
        warnings: sentences for the user.
        compared: the scores beside those of the members and of the whole fold; None without labels.
    """

    until: str
    share: float
    crossing: int
    heads: list[str]
    costs: Costs
    merged: MergeReport
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    compared: Compared | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        line = (
            f"{len(self.heads)} networks merged up to '{self.until}', {100 * self.share:.0f} % of"
            f" the layers: align {self.merged.align}, fold {self.merged.fold}, repair"
            f" {self.merged.repair}. {self.costs}"
        )
        return "\n".join([line, *(f"note: {warning}" for warning in self.warnings)])


@dataclass
class PartialResult:
    """The result of a partial merge.

    Attributes:
        model: the module.
        alignment: the maps that its trunk was made with; None for align="none".
        report: how it was made.
    """

    model: PartialMerge
    alignment: Alignment | None
    report: PartialReport

    def _repr_html_(self) -> str:
        """The short form in a notebook: how far the networks were merged, and what that costs."""
        report = self.report
        title = f"{len(report.heads)} networks merged up to '{report.until}'"
        return card(title, [str(report.costs)] + [f"Note: {one}." for one in report.warnings])

    def merged(self) -> MergeResult[nn.Module]:
        """The same as the result of a merge; what is partial about it is in `report.folded`."""
        whole = self.report.merged
        facts = {name: value for name, value in self.report.to_dict().items() if name != "merged"}
        facts["text"] = str(self.report).splitlines()[0]
        told = replace(whole, folded={**whole.folded, "partial": facts})
        return MergeResult(self.model, self.alignment, told)


@checked
@isolated
def partial_merge(
    models: Sequence[nn.Module],
    data: Data,
    *,
    until: str | float,
    align: str | Matcher | Alignment | None = None,
    fold: str | NetworkFold | Callable[..., Any] = "average",
    repair: str = "auto",
    weights: Sequence[float] | None = None,
    outputs: Outputs = "mean",
    validation: Data | None = None,
    reference: int | None = 0,
    output: OutputChoice = None,
    task: TaskChoice = AUTO,
    metrics: Any = (),
    by: str | None = None,
    seed: int = 0,
) -> PartialResult:
    """Merge K networks up to a place and keep each one's own layers behind it.

    `align`, `fold`, `repair`, `weights`, `validation`, `reference`, `task`, `metrics`, `by` and
    `seed` are those of `onefold.merge`, but for the defaults below. Their result behind the cut is
    thrown away.

    Args:
        models: K >= 2 networks of one class. They are not modified. They may differ in the number
            of their labels (then with outputs="members").
        data: calibration batches as for `onefold.merge`, labels ignored.
        until: the name of the module behind which to cut, as "layer3". Everything that the network
            runs up to the end of it is merged, and every value that is read behind it is handed
            over, skip connections too. Or the share of the layers to merge, between 0 and 1, for
            the nearest place where a cut is possible.
        align: see `onefold.merge`. None is "zipit", and merges the networks as they are if nothing
            can be aligned.
        fold: must leave features in the alignment's basis: "average", or "least_squares" towards
            "correlation" (its default here), "equal" or "selection". A fold of your own says so by
            the class attribute `keeps_basis = True`.
        repair: see `onefold.merge`.
        weights: the members' weights, also as their shares in the outputs.
        outputs: the form of the members' outputs: "mean", "probabilities" or "members" (see
            `PartialMerge`).
        validation: labelled batches, for folds that choose by labels. The result is scored on them
            beside the members and the same networks folded whole; None: on the labels of `data`, if
            there are any.
        reference: see `onefold.merge`.
        output: which output is meant if the members return several, and on which axis its classes
            lie; only outputs="probabilities", which is for classifiers, needs it.
        task: see `onefold.merge`.
        metrics: see `onefold.merge`.
        by: see `onefold.merge`.
        seed: of everything random.

    Raises:
        SymmetryError: the network cannot be cut there; the message names where it can.
        MembersError: they differ in more than their labels, or their outputs cannot be averaged.
        SettingError: a setting is wrong, or the fold leaves the alignment's basis. Further ones,
            WeightsError, TraceError, DataError and AlignmentError as of `onefold.merge`.
    """
    start = time.perf_counter()
    check_outputs(outputs)
    meant, folder = as_output(output), _based(fold)
    check_networks(models, shapes=False)
    shares = normalized(weights, len(models))
    check_member(reference, len(models))
    models = list(in_one_precision(models, reference or 0))
    data = check_reiterable(data, "calibration data")
    check_ranks_agree(models, data, until=until, align=align, fold=fold, repair=repair, seed=seed)
    if outputs == "probabilities":
        # Labels may tell it, but not when the module runs.
        meant = replace(meant, class_axis=class_axis_of(models[0], data, meant))
    given = DEFAULT if align is None else align
    split = split_members(models, data, until, given, reference)
    filled_up = any(a is not model for a, model in zip(split.alike, models, strict=True))
    if outputs != "members" and filled_up:
        raise MembersError(
            "The members have label sets of different sizes, so that their outputs have no mean;"
            " use outputs='members'."
        )
    merged = _merge_trunk(
        split.alike,
        data,
        given,
        optional=align is None,
        fold=folder,
        repair=repair,
        weights=weights,
        validation=validation,
        reference=reference,
        output=meant,
        task=task,
        metrics=metrics,
        by=by,
        seed=seed,
    )
    first = next(batches(data, device_of(split.template), "calibration data"))
    heads = [
        head_state(split.rests[k][0], split.cut, merged.alignment, model.state_dict(), k)
        for k, model in enumerate(models)
    ]
    partial = _assemble(split, merged.model, heads, shares, outputs, first, meant)
    _take_flags(partial, merged.model, models)
    report = PartialReport(
        split.cut.until,
        split.cut.share,
        len(split.cut.crossing),
        [head.way for head in heads],
        costs_of(models, partial, first),
        merged.report,
        warnings=merged.report.warnings,
    )
    compared = compare(
        models, merged.model, partial, data, validation, meant, as_scoring(task, metrics, by)
    )
    if isinstance(compared, Compared):
        report.compared = compared
        report.warnings += compared.notes
    elif compared:
        report.warnings.append(compared)
    report.seconds = time.perf_counter() - start
    return PartialResult(partial, merged.alignment, report)


def _merge_trunk(
    models: Sequence[nn.Module],
    data: Data,
    align: str | Matcher | Alignment,
    *,
    optional: bool,
    **settings: Any,
) -> MergeResult[nn.Module]:
    """The merge of whole networks. Only what lies before the cut is used of it.

    If nothing can be aligned and the alignment is `optional`, the networks are merged as they are.
    """
    try:
        return merge(models, data, align=align, **settings)
    except NothingToAlignError as error:
        if not optional and not error.fixed:
            raise
        told = f"nothing was aligned, and the networks are averaged as they are: {error}"
    result = merge(models, data, align="none", **settings)
    result.report.warnings.insert(0, told)
    return result


def _assemble(
    split: Split,
    merged: nn.Module,
    heads: Sequence[HeadState],
    shares: Sequence[float],
    outputs: Outputs,
    first: Batch,
    meant: Output,
) -> PartialMerge:
    """The module, on the template's device."""
    return assemble(
        split.cutting,
        split.cut,
        merged.state_dict(),
        [head.state for head in heads],
        [head.unmerge for head in heads],
        shares,
        rests=split.rests,
        outputs=outputs,
        inputs=form_of(first),
        output=meant,
    ).to(device_of(split.template))


def class_axis_of(model: nn.Module, data: Data, output: Output) -> int:
    """The axis of the classes in the model's output on the first batch.

    Raises:
        DataError: nothing says which it is.
    """
    batch = next(batches(data, device_of(model), "calibration data"))
    with eval_mode([model]):
        found, where = run(model, batch, output), f" of batch {batch.index}"
        return ClassAxis(output, "a mean of probabilities").of(found, batch.labels, where=where)


def _take_flags(partial: PartialMerge, merged: nn.Module, models: Sequence[nn.Module]) -> None:
    """Let parameters need gradients as those of the same name in their network do."""
    layers = [head.get_submodule("layers") for head in partial.heads]
    for part, network in zip([partial.trunk, *layers], [merged, *models], strict=True):
        flags = {
            name: parameter.requires_grad
            for name, parameter in network.named_parameters(remove_duplicate=False)
        }
        for name, parameter in part.named_parameters():
            parameter.requires_grad_(flags.get(name, True))


def _based(fold: str | NetworkFold | Callable[..., Any]) -> NetworkFold:
    """The fold, which must leave features in the alignment's basis.

    The heads bring features back by the alignment's maps. Least squares by name aims at
    "correlation", as its default target has a basis of its own.

    Raises:
        SettingError: the fold may leave the basis.
    """
    if fold == "least_squares":
        return LeastSquares(target="correlation")
    folder = as_fold(fold)
    if isinstance(folder, LeastSquares) and folder.target not in BASED:
        raise SettingError(
            f"Least squares towards '{folder.target}' puts features into a basis of its own, which"
            f" no head can read; use {' or '.join(BASED)}."
        )
    keeps = isinstance(folder, (StateFold, *KEEPING)) or getattr(folder, "keeps_basis", False)
    if not keeps:
        raise SettingError(
            f"The fold '{folder.name}' may put features into a basis of its own, which no head"
            " can read; use average or least_squares."
        )
    return folder
