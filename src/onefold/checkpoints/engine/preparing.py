"""A document is planned and checked: all that headers, configs and tokenizers tell of it.

A document may refer to the result of another one that is not written yet. It is then planned from
the plan of that one, see `onefold.checkpoints.engine.expected`.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from onefold._version import __version__
from onefold.checkpoints.document import Document, Located, Reference, locate, yaml_of
from onefold.checkpoints.document.methods import method_file
from onefold.checkpoints.engine.doubts import UNSEEDED, UNSHARDED, DoubtfulSetting, doubts_of
from onefold.checkpoints.engine.expected import Expected, expected_result
from onefold.checkpoints.engine.finished import (
    DamagedFile,
    damaged_files,
    has_record,
    is_finished,
    recorded_checksums,
    told_of_damage,
)
from onefold.checkpoints.engine.origin import UnrelatedBase, origins_of
from onefold.checkpoints.engine.result import MergedCheckpoint
from onefold.checkpoints.engine.settings import Settings
from onefold.checkpoints.engine.single_files import as_single, check_single, is_single
from onefold.checkpoints.engine.templates import asked_template
from onefold.checkpoints.layouts import (
    Layout,
    check_components,
    check_no_adapter,
    read_layout,
    with_whole_averages,
)
from onefold.checkpoints.plan.architectures import architectures_first
from onefold.checkpoints.plan.companions import check_layers
from onefold.checkpoints.plan.estimate import estimate
from onefold.checkpoints.plan.pipeline_tokens import check_pipeline_tokens
from onefold.checkpoints.plan.planning import Plan, plan_merge
from onefold.checkpoints.plan.tokens import planned_tokens
from onefold.errors import OutputError, warn
from onefold.weights.atomic import check_output, explain
from onefold.weights.paths import check_apart

SEEDED = "Random masks are drawn by the seed {}."


@dataclass(frozen=True)
class Prepared:
    """A document with its plan.

    Attributes:
        document: the document.
        out: the output, as it was asked for.
        target: its real path.
        located: where the models are.
        plan: what is written from what.
        template: the chat template; None: the donor's.
        report: what is told of it.
        absent: the names of the models that are results and not there yet.
        made_of: what the result depends on, as one text; "" where models are absent.
        finished: an earlier run has left this very result.
        seconds: how long the plan took.
    """

    document: Document
    out: Path
    target: Path
    located: Mapping[Reference, Located]
    plan: Plan
    template: str | None
    report: MergedCheckpoint
    absent: tuple[str, ...]
    made_of: str
    finished: bool
    seconds: float


@dataclass
class Context:
    """What documents that are carried out together know of one another.

    Attributes:
        settings: how they are carried out.
        download: fetch models that are not here.
        dry_run: nothing will be written.
        results: the folders of the documents before, by their names.
        expected: those of them that are not there yet, by folder.
        warned: the sentences that were warned of.
        random: one of the documents draws.
    """

    settings: Settings
    download: bool = False
    dry_run: bool = False
    results: dict[str, Path] = field(default_factory=dict)
    expected: dict[Path, Expected] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)
    random: bool = False

    def add(self, prepared: Prepared, stack: contextlib.ExitStack) -> None:
        """Let the documents behind one refer to its result.

        Args:
            prepared: the document, which has a name.
            stack: removes what stands in for the result.

        Raises:
            OutputError: nothing can be written for the time of the plan.
        """
        self.results[str(prepared.document.name)] = prepared.out
        if prepared.finished:
            return
        try:
            beside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onefold-")))
            self.expected[prepared.out] = expected_result(
                prepared.plan, prepared.out, beside, prepared.template
            )
        except OSError as error:
            raise explain(error, tempfile.gettempdir()) from error

    def layout(self, path: Path) -> Layout:
        """The layout of a model, which may be expected."""
        known = self.expected.get(path)
        return read_layout(path) if known is None else known.layout

    def folder(self, path: Path) -> Path:
        """The folder of what stands beside the weights of a model."""
        known = self.expected.get(path)
        if known is not None:
            return known.layout.folder
        return path if path.is_dir() else path.parent

    def warn(self, sentence: str, kind: type[UserWarning]) -> None:
        """Warn of something once."""
        if sentence not in self.warned:
            self.warned.add(sentence)
            warn(kind(sentence))


def prepare(document: Document, out: Path, context: Context, resumable: bool = False) -> Prepared:
    """Plan and check one document.

    Args:
        document: the document.
        out: its output.
        context: what is known of the documents before.
        resumable: an equal result of an earlier run is taken.

    Raises:
        RecipeError: the document does not fit the models; the message names the line.
        MembersError: the models do not fit together.
        WeightsError: a file is damaged or quantised.
        OutputError: the output exists, or is a result of an earlier run that was changed since.
    """
    start = time.perf_counter()
    settings, single = context.settings, is_single(out)
    known = resumable and not settings.force and has_record(out)
    target = check_output(out, settings.force or known, folder=not single)
    located = locate(document, context.download, context.results)
    for found in located.values():
        check_apart([target], [found.path])
    for model in document.models():
        check_no_adapter(located[model].path)
    layouts = {model: context.layout(located[model].path) for model in document.models()}
    check_components(layouts)
    if single:
        check_single(out, layouts)
    layouts = with_whole_averages(layouts)
    unread = check_pipeline_tokens(layouts)
    folders = {model: context.folder(found.path) for model, found in located.items()}
    with architectures_first(layouts):
        vocabulary, others = planned_tokens(
            document, layouts, folders, lambda model: context.layout(located[model].path)
        )
        plan = plan_merge(document, layouts, settings.shard, vocabulary, others, settings.seed or 0)
    check_layers(layouts[plan.donor], plan.layers)
    if single:
        plan = as_single(plan, target.name)
    absent = [model for model, found in located.items() if found.path in context.expected]
    origins = origins_of(plan.jobs, _files(absent, located, context))
    doubts = doubts_of(plan, located) | _of_settings(plan, target, context, last=not resumable)
    template, told = asked_template(document, folders, vocabulary.tokens if vocabulary else {})
    seed = settings.seed if plan.random else None
    told += [] if seed is None else [SEEDED.format(seed)]
    told = [*doubts, *(vocabulary.sentences() if vocabulary else ()), *told, *_of_absent(absent)]
    report = MergedCheckpoint(
        path=target,
        written=not context.dry_run,
        document=document,
        merged=plan.merged,
        copied=len(plan.jobs) - plan.merged,
        donor=str(plan.donor),
        files=tuple(shard.file for shard in plan.shards),
        estimate=estimate(plan, settings.threads, settings.memory),
        notes=(*origins.notes(), *plan.notes, *unread, *told),
        warned=(*origins.warned, *doubts),
        task_vectors=origins.lengths,
        seed=seed,
        tokenizer=str(vocabulary.donor) if vocabulary and vocabulary.donor else None,
        rows=vocabulary.counts() if vocabulary and not vocabulary.identity else {},
    )
    for sentence in report.warned:
        context.warn(sentence, doubts.get(sentence, UnrelatedBase))
    made_of = "" if absent else fingerprint(plan, settings.seed or 0)
    finished = known and bool(made_of) and is_finished(target, made_of, plan)
    if finished and not context.dry_run:  # all of it is read, which takes its time
        _check_unchanged(plan, target)
    if known and not finished:
        check_output(out, folder=True)
    return Prepared(
        document=document,
        out=out,
        target=target,
        located=located,
        plan=plan,
        template=template,
        report=report,
        absent=tuple(map(str, absent)),
        made_of=made_of,
        finished=finished,
        seconds=time.perf_counter() - start,
    )


def _check_unchanged(plan: Plan, folder: Path) -> None:
    """Refuse a result of an earlier run that somebody changed: it is neither taken nor replaced.

    Raises:
        OutputError: so it is.
    """
    for file in damaged_files(plan, folder, recorded_checksums(folder)):
        raise OutputError(
            f"{folder / file} was changed after a merge had written it; give --force (force=True)"
            " to write it anew, or choose another name."
        )


def with_damage(
    report: MergedCheckpoint, folder: Path, damaged: Collection[str], context: Context
) -> MergedCheckpoint:
    """Warn of files that are written anew, and tell it in the report.

    Args:
        report: what is told of the merge.
        folder: where the files are.
        damaged: their names.
        context: warns.
    """
    told = tuple(told_of_damage(folder / file) for file in damaged)
    for sentence in told:
        context.warn(sentence, DamagedFile)
    return replace(report, notes=(*told, *report.notes), warned=(*told, *report.warned))


def fingerprint(plan: Plan, seed: int = 0) -> str:
    """What a finished file of an earlier run depends on, as one text.

    Args:
        plan: the plan.
        seed: of what is random.
    """
    told = hashlib.sha256(f"{__version__}\n{yaml_of(plan.document)}\n{seed}\n".encode())
    if (own := method_file(plan.document.method)) is not None:
        told.update(own.read_bytes())
    files = [file for layout in plan.layouts.values() for file in layout.files]
    files += [held.file for job in plan.jobs if job.rows for held in job.rows.held.values()]
    for file in dict.fromkeys(files):
        stat = file.stat()
        told.update(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    for shard in plan.shards:
        told.update(shard.file.encode() + shard.header)
    if plan.vocabulary is not None:
        told.update(plan.vocabulary.digest().encode())
    return told.hexdigest()


def _files(
    absent: Collection[Reference], located: Mapping[Reference, Located], context: Context
) -> set[Path]:
    """The files of models that are not there yet."""
    layouts = [context.expected[located[model].path].layout for model in absent]
    return {file for layout in layouts for file in layout.files}


def _of_settings(
    plan: Plan, target: Path, context: Context, last: bool
) -> dict[str, type[UserWarning]]:
    """What has no effect in this merge. last: no other document comes behind it."""
    settings, told = context.settings, []
    if is_single(target) and settings.sharded:
        told.append(UNSHARDED.format(target.name))
    context.random |= plan.random
    if last and settings.seed is not None and not context.random:
        told.append(UNSEEDED.format(plan.document.method))
    return dict.fromkeys(told, DoubtfulSetting)


def _of_absent(absent: Collection[Reference]) -> list[str]:
    return [
        f"{model} is not there yet and is taken as its own plan tells it; its values are looked at"
        " when it is there."
        for model in absent
    ]
