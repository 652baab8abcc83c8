"""`onefold.partial_merge`: check, cut, merge, and put the members' own layers behind the part of
the merge before the cut.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from onefold.alignment import Alignment, check_networks, differ_in_width, in_one_precision, trace_on
from onefold.alignment.matchers import Matcher, matchers
from onefold.batches import Data, batches, check_reiterable, device_of
from onefold.errors import MembersError, NothingToAlignError, SettingError
from onefold.fold.average import folds, normalized
from onefold.fold.least_squares import LeastSquares
from onefold.fold.merge import merge
from onefold.fold.merge_report import MergeReport
from onefold.fold.network_fold import NetworkFold, fold_name
from onefold.fold.partial.cost import Costs, costs_of
from onefold.fold.partial.heads import head_state
from onefold.fold.partial.labels import filled, largest
from onefold.fold.partial.module import Outputs, PartialMerge, assemble, check_outputs
from onefold.fold.partial.saved import form_of
from onefold.fold.soup import UniformSoup
from onefold.inference import ClassAxis, Output, OutputChoice, as_output, run
from onefold.inference.running import eval_mode
from onefold.symmetry import SymmetrySpec
from onefold.symmetry.cutting import Cut, Cutting
from onefold.symmetry.parts import Piece, piece_behind

DEFAULT = "zipit"  # what aligns where nothing was asked for
KEEPING = (
    LeastSquares,
    UniformSoup,
)  # folds whose features are in the alignment's basis, as an average's are
BASED = ("correlation", "equal", "selection")  # targets of least squares of which that is so
_SETTINGS = (
    "target",
    "rows",
    "ridge",
    "validation",
    "probe",
    "regularization",
    "prior",
    "max_positions",
    "seed",
)


@dataclass
class PartialReport:
    """What a partial merge did. until: the module behind which it was cut; share: of the layers
    before it. crossing: how many values cross.

    heads: how each member reads the trunk: "own" (as it is), "written" (a map in its weights that
    keeps its function), "read" (the map's inverse in the weights that read the trunk), "unmerged"
    (mapped back when it runs). costs: beside one network and the ensemble. merged: of the trunk.
    """

    until: str
    share: float
    crossing: int
    heads: list[str]
    costs: Costs
    merged: MergeReport
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)

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
    """The module, the maps that its trunk was made with (None for align="none"), and what was done."""

    model: PartialMerge
    alignment: Alignment | None
    report: PartialReport


def partial_merge(
    models: Sequence[nn.Module],
    data: Data,
    *,
    until: str | float,
    align: str | Matcher | Alignment | None = None,
    fold: str | NetworkFold = "average",
    repair: str = "auto",
    weights: Sequence[float] | None = None,
    outputs: Outputs = "mean",
    reference: int | None = 0,
    spec: SymmetrySpec | None = None,
    output: OutputChoice = None,
    **settings: Any,
) -> PartialResult:
    """Merge K networks up to a place and keep each one's own layers behind it (see `PartialMerge`).

    Args:
        models: K >= 2 networks of one class. They are not modified. They may differ in the number
            of their labels (then with outputs="members").
        data: calibration batches as for `onefold.merge`, labels ignored.
        until: the name of the module behind which to cut, as "layer3": everything that the network
            runs up to the end of it is merged, and every value that is read behind it is handed
            over, skip connections too. Or the share of the layers to merge, between 0 and 1, for
            the nearest place where a cut is possible.
        align, fold, repair, weights, reference, spec: as of `onefold.merge`, but that align=None is
            "zipit". What they make of the layers behind the cut is thrown away. The fold must leave
            features in the alignment's basis: "average", and "least_squares" towards "correlation"
            (its default here), "equal" or "selection". A fold of your own says so by the class
            attribute `keeps_basis = True`.
        outputs: how the members' outputs are returned: "mean", "probabilities" or "members" (see
            `PartialMerge`), with `weights` as their shares.
        output: which output is meant where the members return several, and on which axis its
            classes lie; only outputs="probabilities" needs it.
        settings: further ones of `onefold.merge`: target, rows, ridge, validation, probe,
            regularization, prior, max_positions, seed.

    Raises:
        SymmetryError: the network cannot be cut there; the message names where it can.
        MembersError: they differ in more than their labels, or their outputs cannot be averaged.
        SettingError, WeightsError, TraceError, DataError, AlignmentError: as of `onefold.merge`.
    """
    start = time.perf_counter()
    check_outputs(outputs)
    meant = as_output(output)
    for name in settings:
        if name not in _SETTINGS:
            raise SettingError(
                f"A partial merge takes no {name}; leave it out, or use {', '.join(_SETTINGS)}."
            )
    check_networks(models, shapes=False)
    models = list(models)
    shares = normalized(weights, len(models))
    if "target" in settings or _is_least_squares(fold):
        settings["target"] = _target(fold, settings.get("target"))
    _check_basis(fold)
    if reference is not None and not 0 <= reference < len(models):
        raise MembersError(
            f"The reference is {reference}, but the members are numbered 0 to {len(models) - 1}."
        )
    models = list(in_one_precision(models, reference or 0))
    data = check_reiterable(data, "calibration data")
    if outputs == "probabilities":
        # Labels may tell it, but not when the module runs.
        meant = replace(meant, class_axis=class_axis_of(models[0], data, meant))
    given = DEFAULT if align is None else align
    widths = differ_in_width(models) and _takes_widths(given)
    base = (given.reference if isinstance(given, Alignment) else reference) or 0
    template = models[base if widths else largest(models)]
    cutting = Cutting(trace_on(template, data))
    cut = cutting.at(until)
    alike = list(models) if widths else filled(models, cutting, cut)
    rests = _rests(models, template, data, cutting, cut)
    if outputs != "members" and any(
        own is not model for own, model in zip(alike, models, strict=True)
    ):
        raise MembersError(
            "The members have label sets of different sizes, so that their outputs have no mean;"
            " use outputs='members'."
        )
    shared: dict[str, Any] = {
        "fold": fold,
        "repair": repair,
        "weights": weights,
        "reference": reference,
        "spec": spec or cutting.spec,
        "output": meant,
        **settings,
    }
    try:
        done = merge(alike, data, align=given, **shared)
    except NothingToAlignError as error:
        if align is not None and not error.fixed:
            raise
        kept = {
            name: value
            for name, value in shared.items()
            if name not in ("probe", "regularization", "prior")
        }
        done = merge(alike, data, align="none", **kept)
        done.report.warnings.insert(
            0, f"nothing was aligned, and the networks are averaged as they are: {error}"
        )
    heads = [
        head_state(rests[k][0], cut, done.alignment, model.state_dict(), k)
        for k, model in enumerate(models)
    ]
    first = next(batches(data, device_of(template), "calibration data"))
    made = assemble(
        cutting,
        cut,
        done.model.state_dict(),
        [head.state for head in heads],
        [head.unmerge for head in heads],
        shares,
        rests=rests,
        outputs=outputs,
        inputs=form_of(first),
        output=meant,
    ).to(device_of(template))
    _take_flags(made.trunk, done.model)
    for head, model in zip(made.heads, models, strict=True):
        _take_flags(head.get_submodule("layers"), model)
    costs = costs_of(models, made, first)
    report = PartialReport(
        cut.until,
        cut.share,
        len(cut.crossing),
        [head.way for head in heads],
        costs,
        done.report,
        warnings=done.report.warnings,
    )
    report.seconds = time.perf_counter() - start
    return PartialResult(made, done.alignment, report)


def class_axis_of(model: nn.Module, data: Data, output: Output) -> int:
    """The axis of the classes in the model's output on the first batch.

    Raises DataError where nothing says which it is.
    """
    batch = next(batches(data, device_of(model), "calibration data"))
    with eval_mode([model]):
        return ClassAxis(output, "a mean of probabilities").of(
            run(model, batch, output), batch.labels, where=f" of batch {batch.index}"
        )


def _take_flags(part: nn.Module, network: nn.Module) -> None:
    """Let the parameters of a part need gradients where those of the same name in the network do."""
    flags = {
        name: parameter.requires_grad
        for name, parameter in network.named_parameters(remove_duplicate=False)
    }
    for name, parameter in part.named_parameters():
        parameter.requires_grad_(flags.get(name, True))


def _rests(
    models: Sequence[nn.Module], template: nn.Module, data: Data, cutting: Cutting, cut: Cut
) -> list[tuple[Cutting, Piece]]:
    """What runs behind the cut of every member; members of other shapes are traced by themselves."""
    shapes = {name: value.shape for name, value in template.state_dict().items()}
    common = (cutting, piece_behind(cutting, cut))
    rests = []
    for k, model in enumerate(models):
        if {name: value.shape for name, value in model.state_dict().items()} == shapes:
            rests.append(common)
            continue
        own = Cutting(trace_on(model, data))
        theirs = own.at(cut.until)
        if theirs.crossing != cut.crossing:
            raise MembersError(
                f"Member {k} hands other values over behind '{cut.until}' than the others; only"
                " networks with the same layers fit."
            )
        rests.append((own, piece_behind(own, theirs)))
    return rests


def _is_least_squares(fold: str | NetworkFold) -> bool:
    return isinstance(fold, LeastSquares) or fold == "least_squares"


def _target(fold: str | NetworkFold, target: str | None) -> str | None:
    """The target of least squares: one whose features are in the alignment's basis.

    Raises SettingError for one whose are not.
    """
    if not _is_least_squares(fold):
        return target
    asked = target or (fold.target if isinstance(fold, LeastSquares) else "correlation")
    if asked not in BASED:
        raise SettingError(
            f"Least squares towards '{asked}' puts features into a basis of its own, which no head"
            f" can read; use {' or '.join(BASED)}."
        )
    return asked


def _check_basis(fold: str | NetworkFold) -> None:
    """Raises SettingError for a fold that may leave the alignment's basis: the heads bring features
    back by the alignment's maps.
    """
    kind: Any = type(fold) if isinstance(fold, NetworkFold) else folds.get(fold)
    if (
        isinstance(kind, type)
        and issubclass(kind, NetworkFold)
        and not (issubclass(kind, KEEPING) or getattr(kind, "keeps_basis", False))
    ):
        raise SettingError(
            f"The fold '{fold_name(fold)}' may put features into a basis of its own, which no head"
            " can read; use average or least_squares."
        )


def _takes_widths(align: str | Matcher | Alignment) -> bool:
    if isinstance(align, Alignment):
        return align.specs is not None
    return (
        matchers.get(align).widths
        if isinstance(align, str) and align in matchers
        else isinstance(align, Matcher) and align.widths
    )
