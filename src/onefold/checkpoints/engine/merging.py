"""Merge checkpoints that a document names into a folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onefold._version import __version__
from onefold.checkpoints.document import Document, locate, read_documents, yaml_of
from onefold.checkpoints.document.methods import method_file
from onefold.checkpoints.engine.beside import WrittenTokenizer, write_beside, write_tokens
from onefold.checkpoints.engine.config_doubts import ConfigWarning, config_doubts
from onefold.checkpoints.engine.finished import has_record, is_finished
from onefold.checkpoints.engine.journal import Journal
from onefold.checkpoints.engine.origin import UnrelatedBase, origins_of
from onefold.checkpoints.engine.result import MergedCheckpoint
from onefold.checkpoints.engine.single_files import (
    as_single,
    check_single,
    files_to_hash,
    fill_hashes,
    hashing,
    is_single,
    place_single,
)
from onefold.checkpoints.engine.templates import asked_template
from onefold.checkpoints.layouts import (
    check_components,
    check_no_adapter,
    read_layout,
    with_whole_averages,
)
from onefold.checkpoints.plan.companions import check_layers
from onefold.checkpoints.plan.estimate import estimate
from onefold.checkpoints.plan.pipeline_tokens import check_pipeline_tokens
from onefold.checkpoints.plan.planning import Plan, plan_merge
from onefold.checkpoints.plan.sizes import MEMORY, SHARD, bytes_of, shown_bytes
from onefold.checkpoints.plan.tokens import VocabularyWarning, planned_tokens
from onefold.errors import OutputError, SettingError, shown, warn
from onefold.progress import bar
from onefold.weights.atomic import check_output, exchange, explain, sync
from onefold.weights.paths import check_apart

if TYPE_CHECKING:
    from onefold.checkpoints.engine.inputs import Inputs
    from onefold.progress import Work

SPACE = 50_000_000  # bytes that config, tokenizer and the like take beside the weights
MB = 1_000_000
WEIGHTS = (".safetensors", ".bin", ".index.json")  # that an older output may have left


@dataclass(frozen=True)
class Settings:
    """How merges are carried out.

    Attributes:
        threads: how many work at a time.
        memory: bytes that tensors in work take at most.
        shard: bytes of a file of weights at most.
        force: replace an output.
        durable: force files onto the disk.
        told: is called with the name of each finished file of weights.
    """

    threads: int
    memory: int
    shard: int
    force: bool = False
    durable: bool = True
    told: Callable[[str], None] = field(default=lambda file: None)


def merge_checkpoints(
    document: Document | Sequence[Document] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    as_mergekit: bool = False,
    trust: bool = False,
    download: bool = False,
    dry_run: bool = False,
    threads: int | None = None,
    max_memory: int | str = MEMORY,
    max_shard_size: int | str = SHARD,
    force: bool = False,
) -> MergedCheckpoint:
    """Merge checkpoints of one architecture, tensor by tensor, from files into a folder.

    No network is built. All that can be wrong in headers and configs is refused before a tensor is
    read. The output folder appears in full or not at all; a run that was killed is gone on with by
    the same call. The number of threads changes no bit of the result.

    Args:
        document: a file in YAML (mergekit's configuration), a document, or several that refer to
            one another.
        out: the folder of the result; with a name that ends in ".safetensors" the file, where all
            models are files. Results of named documents that others refer to come beside it, as
            OUT-NAME.
        as_mergekit: ignore in a file what mergekit ignores, with a warning; False: refuse it.
        trust: the Python file that a file in YAML names as its method may be run.
        download: fetch models that are in no folder and not in the cache of Hugging Face.
        dry_run: make and check the plan, and write nothing.
        threads: how many work at a time; None: as many as there are cores for this process.
        max_memory: bytes that tensors in work take at most, beside files mapped into memory. A
            tensor that needs more for itself is merged alone.
        max_shard_size: bytes of a file of weights at most.
        force: replace an output folder that exists.

    Returns:
        What was done; with `dry_run`, what would be done.

    Raises:
        RecipeError: the document is wrong, or does not fit the models; the message names the line.
        MembersError: the models do not fit together.
        WeightsError: a file is damaged, quantised or not finite.
        OutputError: the output exists and `force` is not set, or the disk is full or refuses.
    """
    if not isinstance(out, str | os.PathLike):
        raise SettingError(f"merge_checkpoints takes `out` as a path, not {shown(out)}.")
    settings = Settings(
        _threads(threads),
        bytes_of(max_memory, "max_memory"),
        bytes_of(max_shard_size, "max_shard_size"),
        force,
    )
    return merge_documents(
        _documents(document, as_mergekit, trust), Path(out), settings, download, dry_run
    )


def merge_documents(
    documents: Sequence[Document],
    out: Path,
    settings: Settings,
    download: bool = False,
    dry_run: bool = False,
) -> MergedCheckpoint:
    """As `merge_checkpoints`, of documents in their order and checked settings."""
    *first, last = documents
    places = {str(one.name): out.with_name(f"{out.name}-{one.name}") for one in first}
    for place in (*places.values(), out):
        known = place is not out and has_record(place)
        check_output(place, settings.force or known, folder=not is_single(place))
    results: dict[str, Path] = {}
    before: list[MergedCheckpoint] = []
    for one in first:
        place = places[str(one.name)]
        made = _merge(one, place, settings, download, dry_run, results, resumable=True)
        before.append(made)
        if dry_run:  # what refers to a result cannot be looked at before that is there
            return made
        results[str(one.name)] = place
    return _merge(last, out, settings, download, dry_run, results, tuple(before))


def _merge(
    document: Document,
    out: Path,
    settings: Settings,
    download: bool,
    dry_run: bool,
    results: Mapping[str, Path],
    before: tuple[MergedCheckpoint, ...] = (),
    resumable: bool = False,
) -> MergedCheckpoint:
    """Carry out one document. resumable: an equal result of an earlier run is taken."""
    start = time.perf_counter()
    single = is_single(out)
    known = resumable and not settings.force and has_record(out)
    target = check_output(out, settings.force or known, folder=not single)
    located = locate(document, download, results)
    for found in located.values():
        check_apart([target], [found.path])
    for model in document.models():
        check_no_adapter(located[model].path)
    layouts = {model: read_layout(located[model].path) for model in document.models()}
    check_components(layouts)
    if single:
        check_single(out, layouts)
    layouts = with_whole_averages(layouts)
    unread = check_pipeline_tokens(layouts)
    folders = {model: _folder(found.path) for model, found in located.items()}
    vocabulary, others = planned_tokens(
        document, layouts, folders, lambda model: read_layout(located[model].path)
    )
    plan = plan_merge(document, layouts, settings.shard, vocabulary, others)
    check_layers(layouts[plan.donor], plan.layers)
    if single:
        plan = as_single(plan, target.name)
    origins = origins_of(plan.jobs)
    doubts: dict[str, type[UserWarning]] = dict.fromkeys(
        config_doubts(layouts, plan.donor), ConfigWarning
    )
    doubts |= dict.fromkeys(vocabulary.warnings if vocabulary else (), VocabularyWarning)
    template, told = asked_template(document, folders, vocabulary.tokens if vocabulary else {})
    told = [*doubts, *(vocabulary.sentences() if vocabulary else ()), *told]
    report = MergedCheckpoint(
        path=target,
        written=not dry_run,
        document=document,
        merged=plan.merged,
        copied=len(plan.jobs) - plan.merged,
        donor=str(plan.donor),
        files=tuple(shard.file for shard in plan.shards),
        estimate=estimate(plan, settings.threads, settings.memory),
        notes=(*origins.notes(), *plan.notes, *unread, *told),
        warned=(*origins.warned, *doubts),
        task_vectors=origins.lengths,
        tokenizer=str(vocabulary.donor) if vocabulary and vocabulary.donor else None,
        rows=vocabulary.counts() if vocabulary and not vocabulary.identity else {},
        before=before,
    )
    for sentence in report.warned:
        warn(doubts.get(sentence, UnrelatedBase)(sentence))
    if dry_run:
        return report
    made_of = fingerprint(plan)
    if known:
        if is_finished(target, made_of, plan.shards):
            return replace(report, resumed=len(plan.shards))
        check_output(out, folder=True)
    with Journal(target, made_of, settings.durable) as journal:
        resumed = len(journal.done)
        try:
            _check_space(plan, journal.folder, journal.done)
            tokenizer, late = WrittenTokenizer((), ()), tuple[str, ...]()
            if single:
                with hashing(files_to_hash(plan)) as hashes:
                    inputs = _write_weights(plan, journal, settings)
                    fill_hashes(plan, journal.folder / target.name, hashes())
            else:
                tokenizer = write_tokens(plan, journal.folder, template)
                inputs = _write_weights(plan, journal, settings)
                late = write_beside(
                    plan, report, journal.folder, located, tokenizer, results, made_of
                )
            _check_written(plan, journal, settings, inputs)
            _place(journal, target, out, settings)
        except OSError as error:
            raise explain(error, out) from error
    seconds = time.perf_counter() - start
    notes = (*report.notes, *tokenizer.notes, *late)
    return replace(report, seconds=seconds, resumed=resumed, notes=notes)


def fingerprint(plan: Plan) -> str:
    """What a finished file of an earlier run depends on, as one text."""
    told = hashlib.sha256(f"{__version__}\n{yaml_of(plan.document)}\n".encode())
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


def _write_weights(plan: Plan, journal: Journal, settings: Settings) -> Inputs:
    """Write all files of weights that are not there yet; returns the files of the models."""
    from onefold.checkpoints.engine.inputs import Inputs
    from onefold.checkpoints.engine.running import one_thread_each, run_shard
    from onefold.checkpoints.engine.schedule import Gate

    inputs, gate = Inputs(), Gate(settings.memory)
    todo = [shard for shard in plan.shards if shard.file not in journal.done]
    total = sum(shard.size for shard in todo) // MB
    with bar("Merging (MB)", total) as work, one_thread_each():
        told = _Counter(work).add
        for shard in todo:
            path = journal.folder / shard.file
            path.parent.mkdir(exist_ok=True)
            run_shard(shard, plan.jobs, path, inputs, settings.threads, gate, told)
            journal.finished(shard.file)
            settings.told(shard.file)
    return inputs


def _check_written(plan: Plan, journal: Journal, settings: Settings, inputs: Inputs) -> None:
    """Read a sample of the files back; one that is damaged is struck out of the journal."""
    from onefold.checkpoints.engine.checking import DamagedFileError, check_written
    from onefold.checkpoints.engine.running import one_thread_each

    with one_thread_each():
        try:
            check_written(plan, journal.folder, inputs, settings.memory)
        except DamagedFileError as error:
            journal.forget(error.file)
            raise


class _Counter:
    """Counts bytes, and steps a bar at each MB."""

    def __init__(self, work: Work) -> None:
        self.work, self.bytes, self.shown = work, 0, 0

    def add(self, size: int) -> None:
        self.bytes += size
        while self.work.is_shown and (self.shown + 1) * MB <= self.bytes:
            self.shown += 1
            self.work.step()


def _place(journal: Journal, target: Path, out: Path, settings: Settings) -> None:
    """Give the finished folder, or single file, its name."""
    if is_single(out):
        check_output(out, settings.force)
        journal.remove()
        place_single(journal.folder, target.name, target, settings.durable)
        return
    if settings.durable:
        for folder, _, names in os.walk(journal.folder):
            for name in (*names, "."):
                sync(Path(folder) / name)
    check_output(out, settings.force, folder=True)  # somebody else may have written meanwhile
    journal.remove()
    old = os.listdir(target) if target.is_dir() else []
    exchange(journal.folder, target, leave=[name for name in old if name.endswith(WEIGHTS)])
    if journal.folder.exists():  # the old folder, which was exchanged for the new one
        shutil.rmtree(journal.folder, ignore_errors=True)


def _check_space(plan: Plan, folder: Path, done: set[str]) -> None:
    needed = SPACE + sum(shard.size for shard in plan.shards if shard.file not in done)
    free = shutil.disk_usage(folder).free + sum(
        (folder / shard.file).stat().st_size
        for shard in plan.shards
        if shard.file not in done and (folder / shard.file).exists()
    )
    if free < needed:
        raise OutputError(
            f"{folder.parent} has {shown_bytes(free)} free, and the merge takes"
            f" {shown_bytes(needed)}; free some space or choose another place."
        )


def _documents(
    document: Document | Sequence[Document] | str | os.PathLike[str], as_mergekit: bool, trust: bool
) -> tuple[Document, ...]:
    if isinstance(document, str | os.PathLike):
        return read_documents(Path(document), as_mergekit, trust=trust)
    if isinstance(document, Document):
        return (document,)
    given = tuple(document) if isinstance(document, Sequence) else ()
    found = tuple(one for one in given if isinstance(one, Document))
    if not found or len(found) < len(given):
        raise SettingError(
            f"document is {type(document).__name__}; give a file in YAML, or what"
            " onefold.checkpoints.document_of or read_documents returns."
        )
    return found


def _threads(given: int | None) -> int:
    if given is None:
        cores = getattr(os, "sched_getaffinity", None)
        return len(cores(0)) if cores is not None else os.cpu_count() or 1
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise SettingError(f"threads is {given!r}; give a whole number from 1.")
    return given


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent
