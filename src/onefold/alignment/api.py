"""`onefold.align`: build the problem, solve every group, assemble the alignment."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from onefold.alignment.alignment import Alignment
from onefold.alignment.assemble import assemble
from onefold.alignment.checkpoint import NO_CHECKPOINT, NoCheckpoint, open_checkpoint
from onefold.alignment.checks import check_networks, in_one_precision
from onefold.alignment.matchers import Matcher, StateMatcher, feature_matchers
from onefold.alignment.on_disk import align_on_disk, one_by_one
from onefold.alignment.problem import AlignmentProblem, Reading, build_problem, check_reference
from onefold.alignment.results import name_of
from onefold.alignment.solve import solve_groups
from onefold.alignment.statistics import Statistics
from onefold.alignment.structure import check_movable
from onefold.alignment.widths import build_problem_of_widths, differ_in_width
from onefold.arguments import checked
from onefold.batches import Data, check_reiterable, fingerprint, shard_for_rank
from onefold.distributed import from_every_rank
from onefold.errors import AlignmentError, SettingError, shown
from onefold.isolation import isolated
from onefold.sources import on_disk
from onefold.sources.agreement import check_ranks_agree
from onefold.symmetry import SymmetrySpec, TracedNetwork
from onefold.weights import state_checksum


@checked
@isolated
def align(
    models: Sequence[nn.Module],
    data: Data | None = None,
    *,
    method: str | Matcher = "cca",
    spec: SymmetrySpec | None = None,
    reference: int | None = 0,
    max_positions: int | None = None,
    seed: int = 0,
    traced: TracedNetwork | None = None,
    resume: str | os.PathLike[str] | None = None,
    sharded: bool | None = None,
) -> Alignment:
    """Find the maps that bring every network's features onto the reference's.

    They come from unlabelled data, or from the weights alone. `warnings` of the result says what
    could not be done as asked: which groups stayed or were served by another matcher, and whether
    less than 80 % of the parameters or of the feature spaces between layers could move.

    Args:
        models: K >= 2 networks of one class and one set of shapes, on one device. They are not
            modified. "transport" also takes networks that differ in width alone; they become as
            wide as the reference. `onefold.sources.DiskMembers` stay on disk, two in memory at a
            time, with the same result to the bit; the reference then runs once for every other
            member.
        data: batches as `onefold.batches` describes; labels are ignored. Every batch is read once.
            Only method="weights" works without data, given a `spec`.
        method: the name of a matcher (`onefold methods matcher` lists them), or one with its
            settings, as `onefold.CCA(regularization=1.0)`.
        spec: the symmetries that `find_symmetries` found for this architecture. None: they are
            found here.
        reference: index of the network that keeps its basis. None: all are mapped to a basis they
            agree on, whatever their order; groups of heads then take the basis of the member that
            agrees most with the others.
        max_positions: at most so many positions of each example serve as samples; None: all.
        seed: of the draw of positions, and of whatever else is random in a matcher.
        traced: what `onefold.symmetry.trace` returned for a network of this architecture.
        resume: a folder in which moments and solved groups are saved, and from which they are read
            if they are there already. The same call resumes a run that was killed, to the same
            bits. The folder of another run is refused.
        sharded: under torch.distributed rank r runs the batches r, r + world, ... of `data`. True:
            `data` is the rank's own part already. None: it is if it is a DataLoader with a
            DistributedSampler. Moments are summed over all ranks, and each gets the same
            alignment.

    Raises:
        MembersError: fewer than two networks, or they differ in class, keys or shapes.
        WeightsError: a weight is not finite or not floating-point.
        TraceError: torch.export cannot trace the network.
        DataError: the data is empty, of the wrong dtype, cannot be run, or is too little for the
            widest group.
        NothingToAlignError: no parameter can be moved (any method but "identity"); the message says
            why.
        SettingError, AlignmentError: an unknown or unusable setting.
        OutputError: `resume` cannot be written or belongs to another run.
    """
    matcher = as_matcher(method)
    reading = Reading.of(matcher, max_positions, seed)
    if data is not None:
        data = shard_for_rank(check_reiterable(data, "calibration data"), sharded)
    if not isinstance(models, nn.Module):
        check_ranks_agree(
            models, data, method=matcher, reading=reading, reference=reference, sharded=sharded
        )
    checkpoint = NO_CHECKPOINT
    if resume is not None:
        settings = {
            "matcher": repr(matcher),
            "reference": reference,
            "max_positions": max_positions,
            "seed": seed,
        }
        checkpoint = open_checkpoint(resume, settings | identity(models, data))
    # Other arguments are refused below.
    if not isinstance(models, nn.Module) and len(models) and 0 <= (reference or 0) < len(models):
        models = in_one_precision(models, reference or 0)
    if data is None:
        return _weights_alone(models, matcher, reading, spec, reference, checkpoint)
    if on_disk(models):
        return align_on_disk(
            models,
            data,
            matcher,
            reading,
            spec=spec,
            reference=reference,
            traced=traced,
            checkpoint=checkpoint,
        )
    if matcher.widths and differ_in_width(models):
        if reference is None:
            raise AlignmentError(
                "Networks of unequal widths need a reference, whose width they take; pass its"
                " index."
            )
        problem = build_problem_of_widths(models, data, reading, reference=reference)
    else:
        problem = build_problem(
            models,
            data,
            reading,
            spec=spec,
            reference=reference,
            traced=traced,
            checkpoint=checkpoint,
        )
    return solve_problem(problem, matcher, checkpoint)


def as_matcher(method: str | Matcher) -> Matcher:
    """The matcher of that name with its default settings; a matcher as it is.

    Raises:
        SettingError: there is no such matcher, or it is neither a name nor a matcher.
    """
    if isinstance(method, Matcher):
        return method
    if not isinstance(method, str):
        raise SettingError(
            f"A matcher is a name or an instance such as onefold.CCA(), not {shown(method)}; see"
            " `onefold methods matcher`."
        )
    return feature_matchers.get(method)()


def identity(models: Sequence[nn.Module], data: Data | None) -> dict[str, Any]:
    """Facts that tell one run from another beside its settings, as plain data.

    These are the members' weights, the data and the number of processes.
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
    reading: Reading,
    spec: SymmetrySpec | None,
    reference: int | None,
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

    def problem(*states: Mapping[str, Tensor], relative: int | None) -> AlignmentProblem:
        folds = any(layer.norm is not None for layer in spec.layers)
        return AlignmentProblem(
            spec, len(states), relative, Statistics(), reading, folds_norms=folds, states=states
        )

    if not on_disk(models) or reference is None:
        states = [model.state_dict() for model in models]
        return solve_problem(problem(*states, relative=reference), matcher, checkpoint)
    start, first = time.perf_counter(), models[reference].state_dict()
    solution = one_by_one(
        len(models),
        reference,
        lambda k: problem(first, models[k].state_dict(), relative=0),
        lambda pair, k: solve_groups(pair, matcher, checkpoint.part(f"pair-{reference}-{k}")),
    )
    common = dataclasses.replace(problem(relative=reference), members=len(models))
    return assemble(common, solution, matcher, {"solve": time.perf_counter() - start})


def solve_problem(
    problem: AlignmentProblem, matcher: Matcher, checkpoint: NoCheckpoint = NO_CHECKPOINT
) -> Alignment:
    """The alignment that `matcher` finds for what `build_problem` measured.

    Solving again with other settings costs no pass over the data.

    Raises:
        AlignmentError: the matcher cannot work with these features.
        DataError: it needs more moments than were gathered.
    """
    start = time.perf_counter()
    solution = solve_groups(problem, matcher, checkpoint)
    seconds = problem.seconds | {"solve": time.perf_counter() - start}
    return assemble(problem, solution, matcher, seconds)
