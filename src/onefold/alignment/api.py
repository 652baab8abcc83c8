"""Compute an alignment: gather the features' moments, then solve every group for every member."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from onefold.alignment.alignment import Alignment
from onefold.alignment.assemble import alignment_of, solve_members
from onefold.alignment.checkpoint import NO_CHECKPOINT, NoCheckpoint, open_checkpoint
from onefold.alignment.checks import check_networks, in_one_precision
from onefold.alignment.matchers import JointMatcher, Matcher, StateMatcher, matchers
from onefold.alignment.matchers.identity import Identity
from onefold.alignment.on_disk import align_streamed, one_by_one
from onefold.alignment.problem import AlignmentProblem, build_problem, check_reference
from onefold.alignment.results import name_of
from onefold.alignment.statistics import Statistics
from onefold.alignment.structure import check_movable
from onefold.alignment.widths import build_problem_of_widths, differ_in_width
from onefold.batches import Data, check_reiterable, fingerprint, shard_for_rank
from onefold.distributed import from_every_rank
from onefold.errors import AlignmentError, SettingError
from onefold.sources import on_disk
from onefold.symmetry import SymmetrySpec, TracedNetwork
from onefold.weights import state_checksum


def align(
    models: Sequence[nn.Module],
    data: Data | None = None,
    *,
    method: str | Matcher = "cca",
    spec: SymmetrySpec | None = None,
    reference: int | None = 0,
    probe: str = "auto",
    regularization: float | None = None,
    prior: float | None = None,
    max_positions: int | None = None,
    targets: bool = True,
    seed: int = 0,
    traced: TracedNetwork | None = None,
    resume: str | os.PathLike[str] | None = None,
    sharded: bool | None = None,
) -> Alignment:
    """Find the maps that bring every network's features onto the reference's, from unlabelled data
    or from the weights alone.

    `warnings` of the result says what could not be done as asked: which groups stayed or were
    served by another matcher, and where less than 80 % of the parameters or of the feature spaces
    between layers could move.

    Args:
        models: K >= 2 networks of one class and one set of shapes, on one device. They are not
            modified. "transport" also takes networks that differ in width alone; they become as
            wide as the reference. `onefold.sources.DiskMembers` stay on disk, two in memory at a
            time, with the same result to the bit; the reference then runs once for every other
            member.
        data: batches as `onefold.batches` describes; labels are ignored. Every batch is seen once.
            Only method="weights" works without, given a `spec`; there are no targets for repair
            then.
        method: name of a matcher (`onefold methods matcher` lists them), or a matcher with its
            settings.
        spec: what `find_symmetries` found for this architecture; found here where it is None.
        reference: index of the network that keeps its basis. None: all are mapped to a basis they
            agree on, whatever their order; groups of heads then take the basis of the member that
            agrees most with the others.
        probe: where features are read: "pre" or "post" activation, or "auto" for the matcher's own
            choice.
        regularization: the ridge of matchers that have one, relative to the mean variance; None for
            the matcher's default.
        prior: how strongly dense matchers hold on to the best permutation, relative to the mean
            variance; None for their default.
        max_positions: at most so many positions of each example serve as samples; None for all.
        targets: also measure what repair needs, the mean and deviation of the outputs of every
            layer whose features may move; the outputs of the network are not among them.
        seed: of the draw of positions, and of whatever else is random in a matcher.
        traced: reuse what `onefold.symmetry.trace` returned for a network of this architecture.
        resume: a folder in which moments and solved groups are checkpoint, and taken from where they are
            there already, so that the same call goes on where one was killed, to the same bits. The
            folder of another run is refused.
        sharded: under torch.distributed rank r runs the batches r, r + world, ... of `data`; True
            says that `data` is its part already, as None takes a DataLoader with a
            DistributedSampler to be. Moments are summed over all ranks, and each gets the same
            alignment.

    Raises:
        MembersError: fewer than two networks, or they differ in class, keys or shapes.
        WeightsError: a weight is not finite or not floating-point.
        TraceError: torch.export cannot trace the network.
        DataError: the data is empty, of the wrong dtype, cannot be run, or is too little for the
            widest group.
        NothingToAlignError: no parameter can be moved (any method but "identity"); the message says
            why.
        SettingError, AlignmentError: an unknown or unusable setting. OutputError: `resume` cannot be
            written or keeps another run.
    """
    matcher = _matcher(method, {"regularization": regularization, "prior": prior})
    if probe not in ("auto", "pre", "post"):
        raise SettingError(f"The probe is '{probe}'; choose 'auto', 'pre' or 'post'.")
    if data is not None:
        data = shard_for_rank(check_reiterable(data, "calibration data"), sharded)
    where = matcher.probe if probe == "auto" else probe
    checkpoint = NO_CHECKPOINT
    if resume is not None:
        settings = {
            "reference": reference,
            "probe": where,
            "max_positions": max_positions,
            "targets": targets,
            "seed": seed,
        }
        checkpoint = open_checkpoint(
            resume, {"matcher": repr(matcher), **settings, **identity(models, data)}
        )
    if (
        not isinstance(models, nn.Module) and len(models) and 0 <= (reference or 0) < len(models)
    ):  # else refused below
        models = in_one_precision(models, reference or 0)
    if data is None:
        return _weights_alone(models, matcher, spec, reference, seed, checkpoint)
    if on_disk(models):
        return align_streamed(
            models,
            data,
            matcher,
            spec=spec,
            reference=reference,
            probe=where,
            max_positions=max_positions,
            targets=targets,
            seed=seed,
            traced=traced,
            checkpoint=checkpoint,
        )
    if matcher.widths and differ_in_width(models):
        if reference is None:
            raise AlignmentError(
                "Networks of unequal widths need a reference, whose width they take; pass its"
                " index."
            )
        problem = build_problem_of_widths(
            models,
            data,
            reference=reference,
            probe=where,
            max_positions=max_positions,
            targets=targets,
            seed=seed,
        )
        return solve_problem(problem, matcher, checkpoint)
    problem = build_problem(
        models,
        data,
        spec=spec,
        reference=reference,
        probe=where,
        full=matcher.covariances,
        every=isinstance(matcher, JointMatcher),
        read=not isinstance(matcher, StateMatcher),
        max_positions=max_positions,
        targets=targets,
        seed=seed,
        traced=traced,
        checkpoint=checkpoint,
        moves=not isinstance(matcher, Identity),
    )
    return solve_problem(problem, matcher, checkpoint)


def identity(models: Sequence[nn.Module], data: Data | None) -> dict[str, Any]:
    """What tells one run from another beside its settings: the members' weights, the data and the
    number of processes.
    """
    members = [state_checksum(model.state_dict()) for model in models]
    return {
        "members' weights": members,
        "members on disk": on_disk(models),
        "calibration data": from_every_rank(None if data is None else fingerprint(data)),
    }


def _weights_alone(
    models: Sequence[nn.Module],
    matcher: Matcher,
    spec: SymmetrySpec | None,
    reference: int | None,
    seed: int,
    checkpoint: NoCheckpoint,
) -> Alignment:
    """The alignment without data."""
    if not isinstance(matcher, StateMatcher):
        raise AlignmentError(
            f"The matcher '{name_of(matcher)}' reads features; pass calibration data, or use"
            " method='weights'."
        )
    if spec is None:
        raise AlignmentError(
            "Without data the networks cannot be traced; pass spec=onefold.find_symmetries(model,"
            " example_inputs), or data."
        )
    check_networks(models)
    check_reference(reference, len(models))
    check_movable(spec, type(models[0]).__name__)
    folds = any(layer.norm is not None for layer in spec.layers)

    def problem(states: tuple[Mapping[str, Tensor], ...], own: int | None) -> AlignmentProblem:
        return AlignmentProblem(
            spec, len(states), own, Statistics({}, {}), {}, (), folds, False, {}, states, seed
        )

    if on_disk(models) and reference is not None:
        start, first = time.perf_counter(), models[reference].state_dict()
        solution = one_by_one(
            len(models),
            reference,
            lambda k: problem((first, models[k].state_dict()), 0),
            lambda pair, k: solve_members(pair, matcher, checkpoint.part(f"pair-{reference}-{k}")),
        )
        whole = dataclasses.replace(problem((), reference), members=len(models))
        return alignment_of(whole, solution, matcher, {"solve": time.perf_counter() - start})
    return solve_problem(
        problem(tuple(model.state_dict() for model in models), reference), matcher, checkpoint
    )


def solve_problem(
    problem: AlignmentProblem, matcher: Matcher, checkpoint: NoCheckpoint = NO_CHECKPOINT
) -> Alignment:
    """The alignment that `matcher` finds in what `build_problem` measured.

    Solving again with other settings costs no pass over the data.

    Raises:
        AlignmentError: the matcher cannot work with these features. DataError: it needs more
            moments than were problem.
    """
    start = time.perf_counter()
    solution = solve_members(problem, matcher, checkpoint)
    return alignment_of(
        problem, solution, matcher, problem.seconds | {"solve": time.perf_counter() - start}
    )


def _matcher(method: str | Matcher, settings: Mapping[str, float | None]) -> Matcher:
    """The matcher with the settings that are not None.

    Raises SettingError for a setting that it has not got.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    kind = type(method) if isinstance(method, Matcher) else matchers.get(method)
    for name in given:
        if name not in {f.name for f in dataclasses.fields(kind)}:
            having = [
                e.name for e in matchers if name in {f.name for f in dataclasses.fields(e.value)}
            ]
            raise SettingError(
                f"The matcher '{name_of(kind)}' takes no {name}; leave it out, or use"
                f" {' or '.join(having)}."
            )
    return dataclasses.replace(method, **given) if isinstance(method, Matcher) else kind(**given)
