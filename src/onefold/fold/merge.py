"""All of it in one call: check, trace, align, fold, repair, polish."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

from torch import Tensor, nn

from onefold.alignment import Alignment, check_networks, differ_in_width, in_one_precision, trace_on
from onefold.alignment import align as compute_alignment
from onefold.alignment.matchers import Matcher, StateMatcher, matchers
from onefold.batches import (
    Data,
    RankShare,
    batches,
    check_reiterable,
    device_of,
    shard_for_rank,
    unsharded,
)
from onefold.batchnorm import neutralised, norms_of, reestimate
from onefold.caches import clear_eval_caches, copied, fill
from onefold.counting import counted
from onefold.ensemble.class_shares import EVEN, pooled
from onefold.ensemble.names import EnsembleName, check_ensemble
from onefold.ensemble.pool import ClassPool
from onefold.errors import (
    AlignmentError,
    MembersError,
    NothingToAlignError,
    SettingError,
    TraceError,
    nearest,
)
from onefold.fold.average import average, normalized, owner_of
from onefold.fold.mapped import MappedStates
from onefold.fold.merge_report import CHOOSING, MergeReport, MergeResult, _describe
from onefold.fold.network_fold import Folded, FoldJob, NetworkFold, fold_name, fold_with, takes
from onefold.fold.polish import POLISHING, check_distillable
from onefold.fold.polish import polish as distil
from onefold.fold.repair import RepairReport, repair
from onefold.fold.settings import settings_used
from onefold.fold.unaveraged import keep, unaveraged
from onefold.inference import ClassAxis, Output, OutputChoice, as_output, run
from onefold.inference.running import eval_mode
from onefold.sources import on_disk
from onefold.symmetry import SymmetrySpec, TracedNetwork, solve
from onefold.weights import repeated

M = TypeVar("M", bound=nn.Module)
REPAIRS = ("auto", "none", "batchnorm", "full")
DEFAULT = "cca"  # what aligns where nothing was asked for


def merge(
    models: Sequence[M],
    data: Data | None = None,
    *,
    align: str | Matcher | Alignment | None = None,
    fold: str | NetworkFold = "average",
    repair: str = "auto",
    polish: int = 0,
    weights: Sequence[float] | None = None,
    target: str | None = None,
    rows: int | None = None,
    ridge: float | None = None,
    ensemble: EnsembleName | ClassPool | None = None,
    validation: Data | None = None,
    spec: SymmetrySpec | None = None,
    reference: int | None = 0,
    probe: str = "auto",
    regularization: float | None = None,
    prior: float | None = None,
    max_positions: int | None = None,
    seed: int = 0,
    resume: str | os.PathLike[str] | None = None,
    sharded: bool | None = None,
    output: OutputChoice = None,
) -> MergeResult[M]:
    """Fold K networks of one architecture into one.

    Args:
        models: K >= 2 networks of one class and one set of shapes. They are not modified. With
            align="transport" widths may differ; the result has those of the reference.
            `onefold.sources.DiskMembers` stay on disk; beside the reference and the running sum one
            is in memory at a time, but for folds that run networks (least squares) and for
            distillation.
        data: calibration batches (see `onefold.batches`), labels ignored; read twice, for the
            moments and for repair. Needed for everything but align="none", or align="weights" with
            a `spec`, with repair="none".
        align: a matcher's name or instance, "none", or an Alignment that was computed for these
            networks in this order. None: "cca", and where no parameter can be moved the networks
            are averaged as they are, with a warning. For a matcher that was named that is an error,
            unless the network takes all its features for positions (a Fourier transform over them):
            networks as they are then stand aligned.
        fold: a fold's name (`onefold methods fold`), or one with its settings, as
            LeastSquares(threshold=0.3).
        repair: "full" gives the layers whose features may move the members' means and deviations
            (REPAIR), not the outputs of the network, and re-estimates batch-norm statistics;
            "batchnorm" only re-estimates them; "none" does nothing; "auto" is "full" where the
            network can be traced, else "batchnorm", and nothing after folds that need no repair
            (least squares, one member alone). By name, behind a fold whose units are not where the
            alignment puts them (least squares towards "pruning", one member alone), "full" is
            "batchnorm".
        polish: passes of distillation from the members' ensemble over `data` behind everything else
            (see `onefold.fold.polish`).
        weights: one for each member, divided by their sum; None for equal ones.
        target, rows, ridge: settings of least squares (see `onefold.fold.LeastSquares`); None for
            its defaults.
        ensemble: what least squares and polish aim at, the mean of the members' "logits" (the
            default) or of their "probabilities", which is for classifiers and better where members
            are sure of what they do not know; or a pool that hears each member on every class by
            what it saw of it (`onefold.class_pool`), "classes" being the one that is estimated from
            `data`, whose classes are taken to be even.
        validation: labelled batches that folds which choose by labels (greedy_soup, auto) choose
            by; without them the last fifth of `data`, if it has labels.
        spec, reference, probe, regularization, prior, max_positions, seed, resume: as in
            `onefold.align`.
        sharded: as in `onefold.align`; the sums of repair run over all ranks, too, and every rank
            gets the same network. With True no fold that runs networks and no distillation, which
            need all of the data.
        output: which output is meant where the networks return several, and on which axis its
            classes lie (`onefold.inference`). Only what reads scores needs it: polish, folds that
            choose by labels, and ensembles of probabilities or classes.

    Raises:
        MembersError, WeightsError, TraceError, DataError, SettingError, AlignmentError, OutputError:
            as `onefold.align`.
    """
    own: dict[str, Any] = {"target": target, "rows": rows, "ridge": ridge}
    maker = fold_with(
        fold, own | ({"ensemble": ensemble} if not polish or takes(fold, "ensemble") else {})
    )
    shares, asked, meant = normalized(weights, len(models)), align is not None, as_output(output)
    given: str | Matcher | Alignment = DEFAULT if align is None else align
    if repair not in REPAIRS:
        raise SettingError(f"There is no repair '{repair}'; {nearest(repair, REPAIRS)}")
    if ensemble is not None:
        check_ensemble(ensemble)
    if polish < 0:
        raise SettingError(
            f"polish is {polish}; it is a number of passes over the calibration data, 0 or more."
        )
    widths = _takes_widths(given) and differ_in_width(models)
    check_networks(models, shapes=not widths)
    if reference is not None and not 0 <= reference < len(models):
        raise MembersError(
            f"The reference is {reference}, but the members are numbered 0 to {len(models) - 1}."
        )
    base = reference or 0  # whose shapes and whose buffers of integers the result has
    models = in_one_precision(models, base)
    wanted = isinstance(maker, NetworkFold) and maker.traced
    mode = (
        "none"
        if isinstance(maker, NetworkFold) and not maker.repairs and repair == "auto"
        else repair
    )
    if data is None and not (
        (given == "none" or _reads_weights(given)) and mode == "none" and not wanted and not polish
    ):
        raise SettingError(
            "Aligning and repairing need calibration data; pass `data`, or use align='none' or"
            " 'weights' with repair='none'."
        )
    if data is not None:
        data = shard_for_rank(check_reiterable(data, "calibration data"), sharded)
        if (
            isinstance(data, RankShare)
            and data.sharded
            and (polish or isinstance(maker, NetworkFold))
        ):
            raise SettingError(
                "Every rank holds a part of the data only, which fold and polish need whole; pass"
                " all of it, or use fold='average'."
            )
    if validation is not None:
        validation = check_reiterable(validation, "validation data")
    first = models[base]  # of members on disk: held for as long as this runs
    if resume is not None and (
        isinstance(given, Alignment) or (given == "none" and mode == "none")
    ):
        raise SettingError(
            "There is no alignment to compute, so there is nothing to resume; leave out `resume`"
            " (--resume)."
        )
    if data is not None:
        meant = _checked_output(
            first, unsharded(data), validation, maker, bool(polish), ensemble, meant
        )
    parameters = sum(p.numel() for p in (first if on_disk(models) else models[0]).parameters())
    report = MergeReport(
        _name(given), fold_name(fold), mode, len(models), reference, shares, parameters=parameters
    )
    report.settings = settings_used(
        given,
        maker,
        probe=probe,
        regularization=regularization,
        prior=prior,
        max_positions=max_positions,
        seed=seed,
    )

    report.warnings += repeated(models)
    traced, spec = _structure(
        first,
        data,
        spec,
        needed=given != "none" or wanted,
        wanted=mode in ("auto", "full"),
        report=report,
    )
    alignment: Alignment | None = None
    if isinstance(given, Alignment):
        alignment = given
        if alignment.members != len(models):
            raise AlignmentError(
                f"The alignment was computed for {alignment.members} members but {len(models)} were"
                " given; pass all, in order."
            )
        report.reference = reference = alignment.reference
        base = reference or 0
    elif traced is not None and data is not None and (given != "none" or mode != "none"):

        def aligned(method: str | Matcher, **settings: Any) -> Alignment:
            return compute_alignment(
                models,
                data,
                method=method,
                spec=spec,
                reference=reference,
                max_positions=max_positions,
                targets=mode != "none",
                seed=seed,
                traced=traced,
                **settings,
            )

        settings: dict[str, Any] = {
            "probe": probe,
            "regularization": regularization,
            "prior": prior,
            "resume": resume,
        }
        if given != "none":
            try:
                alignment = aligned(given, **settings)
            except NothingToAlignError as error:
                if asked and not error.fixed:
                    raise
                report.warnings.append(
                    f"nothing was aligned, and the networks are averaged as they are: {error}"
                )
                report.align, given, settings = "none", "none", {}
                report.settings["align"] = {}
        if alignment is None and mode != "none":
            # Plain averaging has no alignment, but repair takes its targets from the unmapped
            # members.
            try:
                alignment = aligned("identity", **settings)
            except TraceError as error:  # a batch of another size runs other operators
                if mode != "auto" or wanted:
                    raise
                report.warnings.append(f"only batch-norm statistics can be repaired: {error}")
                traced = spec = None
        if alignment is not None:
            _describe(alignment, report)
    elif data is None and given != "none":
        alignment = compute_alignment(
            models, method=given, spec=spec, reference=reference, seed=seed, resume=resume
        )
        _describe(alignment, report)
    start = time.perf_counter()
    applied = alignment if given != "none" else None
    mapped = MappedStates(models, applied)
    states: Sequence[Mapping[str, Tensor]] = mapped if on_disk(models) else list(mapped)

    def neutral(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return neutralised(state, applied.spec.layers) if applied and applied.folds_norms else state

    left = unaveraged(first, models, states, base)
    report.kept = left.kept
    report.warnings += left.warnings(owner_of(shares, base))

    def kept(state: dict[str, Tensor], weights: Sequence[float]) -> dict[str, Tensor]:
        return neutral(keep(state, states, left.kept, weights, base))

    def network(state: Mapping[str, Tensor]) -> M:
        made = copied(first)
        fill(made, state)
        clear_eval_caches(made)
        return made

    def repaired(state: Mapping[str, Tensor], based: bool = True) -> nn.Module:
        made = network(state)
        _repair(made, data, mode, alignment if based else None, spec, traced, copy.deepcopy(report))
        return made

    if isinstance(maker, NetworkFold) and widths:
        raise MembersError(
            f"The fold '{fold_name(fold)}' takes networks of one width only; use fold='average'."
        )
    goal: EnsembleName | ClassPool = (
        ensemble if ensemble is not None else getattr(maker, "ensemble", "logits")
    )
    if goal == "classes" and data is not None:  # estimated once, for fold and polish
        goal = pooled(goal, models, unsharded(data), meant)
        report.read("shares of classes", goal.examples if isinstance(goal, ClassPool) else 0)
        report.warnings.append(EVEN)
    if isinstance(goal, ClassPool) and goal.estimated:
        report.warnings += goal.doubts
    if isinstance(goal, ClassPool):
        maker = (
            fold_with(maker, {"ensemble": goal})
            if isinstance(maker, NetworkFold) and takes(maker, "ensemble")
            else maker
        )
    if isinstance(maker, NetworkFold):
        job = FoldJob(
            models,
            states,
            lambda own: kept(average(states, own, reference=base), own),
            shares,
            base,
            applied,
            spec,
            traced,
            None if data is None else unsharded(data),
            validation,
            network,
            repaired,
            seed,
            report.kept,
            meant,
            repair != "auto",
        )
        done = maker.fold(job)
    else:
        done = Folded(kept(maker(states, shares, reference=base), shares), repair=True)
    folded = network(done.state)
    report.folded = done.details
    report.read("fold", int(done.details.get("examples", 0)))
    report.read(CHOOSING, int(done.details.get("validation examples", 0)))
    report.warnings += done.warnings
    report.seconds["apply and fold"] = time.perf_counter() - start

    start = time.perf_counter()
    report.repair = mode = mode if done.repair or repair != "auto" else "none"
    _repair(folded, data, mode, alignment if done.based else None, spec, traced, report)
    report.seconds["repair"] = time.perf_counter() - start
    if polish and data is not None:
        start = time.perf_counter()
        result = distil(
            folded, models, unsharded(data), passes=polish, ensemble=goal, seed=seed, output=meant
        )
        folded, report.polished = result.model, result.to_dict()
        report.read("polish", result.examples)
        report.seconds["polish"] = time.perf_counter() - start
    if spec is not None:
        report.coverage, report.frozen, report.unknown = (
            spec.coverage,
            dict(spec.frozen),
            dict(spec.unknown),
        )
        report.spaces, report.moving_spaces = (
            len(spec.spaces),
            sum(bool(space.groups) for space in spec.spaces),
        )
    return MergeResult(folded, applied, report)


def _checked_output(
    model: nn.Module,
    data: Data,
    validation: Data | None,
    maker: Any,
    polish: bool,
    ensemble: EnsembleName | ClassPool | None,
    meant: Output,
) -> Output:
    """The output, with the axis of its classes where labels to choose by tell it.

    Raises:
        DataError: what is asked for needs an output that is not known; said before anything slow.
    """
    labelled = isinstance(maker, NetworkFold) and maker.labelled
    first = next(
        batches(
            validation if labelled and validation is not None else data,
            device_of(model),
            "calibration data",
        )
    )
    chooses = labelled and first.labels is not None
    if chooses or meant.select is not None:
        with eval_mode([model]):
            found = run(model, first, meant)
        if chooses:
            axis = ClassAxis(meant, "choosing by labels").of(
                found, first.labels, scored=True, where=f" of batch {first.index}"
            )
            meant = meant if found.dim() == 2 else replace(meant, class_axis=axis)
    goal = ensemble if ensemble is not None else getattr(maker, "ensemble", "logits")
    if polish or (goal not in ("logits", "outputs") and isinstance(maker, NetworkFold)):
        check_distillable(
            model, data, meant, POLISHING if polish else "an ensemble of probabilities or classes"
        )
    return meant


def _reads_weights(align: str | Matcher | Alignment) -> bool:
    kind = matchers.get(align) if isinstance(align, str) and align in matchers else type(align)
    return issubclass(kind, StateMatcher)


def _takes_widths(align: str | Matcher | Alignment) -> bool:
    if isinstance(align, Alignment):
        return align.specs is not None
    return (
        matchers.get(align).widths
        if isinstance(align, str) and align in matchers
        else isinstance(align, Matcher) and align.widths
    )


def _name(align: str | Matcher | Alignment) -> str:
    return (
        align
        if isinstance(align, str)
        else align.method
        if isinstance(align, Alignment)
        else type(align).__name__.lower()
    )


def _structure(
    model: nn.Module,
    data: Data | None,
    spec: SymmetrySpec | None,
    *,
    needed: bool,
    wanted: bool,
    report: MergeReport,
) -> tuple[TracedNetwork | None, SymmetrySpec | None]:
    """Trace and solve.

    A network that cannot be traced is an error where an alignment needs it, and a note where only
    repair wanted it.
    """
    if data is None or not (needed or wanted):
        return None, spec
    start = time.perf_counter()
    try:
        traced = trace_on(model, data)
    except TraceError as error:
        if needed:
            raise
        report.warnings.append(f"only batch-norm statistics can be repaired: {error}")
        return None, None
    spec = spec or solve(traced)
    report.seconds["trace"] = time.perf_counter() - start
    return traced, spec


def _repair(
    folded: nn.Module,
    data: Data | None,
    mode: str,
    alignment: Alignment | None,
    spec: SymmetrySpec | None,
    traced: TracedNetwork | None,
    report: MergeReport,
) -> None:
    if mode == "none" or data is None:
        return
    data, count = counted(data)
    if (
        (mode in ("auto", "full") or report.align != "none")
        and alignment is not None
        and traced is not None
        and spec is not None
    ):
        nodes = {norm.node for norm in spec.norms}
        targets = {
            node: target
            for node, target in alignment.targets.items()
            if mode != "batchnorm" or node in nodes
        }
        try:
            done: RepairReport = repair(folded, data, spec, targets, traced=traced)
            shared = isinstance(data, RankShare) and data.sharded  # others read the rest
            report.read("repair", alignment.examples if shared else count.examples)
            report.repaired = asdict(done)
            if done.dead:
                report.warnings.append(
                    f"{done.dead} channels of the folded network never vary; repair shifted but did"
                    " not scale them"
                )
            return
        except (
            TraceError
        ) as error:  # as in `merge`, of a batch that nothing had to be read from before
            if report.align != "none" or mode != "auto":
                raise
            report.warnings.append(f"only batch-norm statistics can be repaired: {error}")
    norms = reestimate(folded, data) if norms_of(folded) else 0
    report.read("repair", count.examples)
    report.repaired = {"norms": norms, "layers": 0}
    if norms == 0:
        report.warnings.append("the network has no batch norm, so nothing was repaired")
