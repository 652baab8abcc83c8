"""Merge checkpoints that a document names into a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from onefold.checkpoints.document import Document, documents_from, read_documents
from onefold.checkpoints.engine.beside import WrittenTokenizer, write_beside, write_tokens
from onefold.checkpoints.engine.finished import CHECKSUMS, MADE_OF, damaged_files, has_record
from onefold.checkpoints.engine.journal import Journal
from onefold.checkpoints.engine.preparing import Context, Prepared, prepare, with_damage
from onefold.checkpoints.engine.result import MergedCheckpoint
from onefold.checkpoints.engine.room import check_room
from onefold.checkpoints.engine.settings import Settings as Settings
from onefold.checkpoints.engine.single_files import (
    files_to_hash,
    fill_hashes,
    hashing,
    is_single,
    place_single,
)
from onefold.checkpoints.plan.planning import Plan
from onefold.checkpoints.plan.sizes import MEMORY, SHARD, bytes_of
from onefold.errors import SettingError, shown
from onefold.progress import bar
from onefold.weights.atomic import check_output, exchange, explain, sync

if TYPE_CHECKING:
    from onefold.checkpoints.engine.inputs import Inputs
    from onefold.progress import Work

Given: TypeAlias = (
    "Document | Mapping[str, Any] | Sequence[Document | Mapping[str, Any]] | str | os.PathLike[str]"
)
MB = 1_000_000
WEIGHTS = (".safetensors", ".bin", ".index.json")  # that an older output may have left


def merge_checkpoints(
    document: Given,
    out: str | os.PathLike[str],
    *,
    as_mergekit: bool = False,
    trust: bool = False,
    download: bool = False,
    dry_run: bool = False,
    threads: int | None = None,
    max_memory: int | str = MEMORY,
    max_shard_size: int | str | None = None,
    force: bool = False,
    seed: int | None = None,
) -> MergedCheckpoint:
    """Merge checkpoints of one architecture, tensor by tensor, from files into a folder.

    No network is built. All that can be wrong in headers and configs is refused before a tensor is
    read. The output folder appears in full or not at all; a run that was killed is gone on with by
    the same call. The number of threads changes no bit of the result.

    Args:
        document: a file in YAML (mergekit's configuration), its content as a dict, a document of
            `document_of`, or several that refer to one another.
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
        max_shard_size: bytes of a file of weights at most; None: 5 GB. A single file has no such
            bound.
        force: replace an output folder that exists.
        seed: of random masks, as of dare_ties; None: 0, which is not recorded.

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
        bytes_of(SHARD if max_shard_size is None else max_shard_size, "max_shard_size"),
        force,
        seed=_seed(seed),
        sharded=max_shard_size is not None,
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
    """As `merge_checkpoints`, of documents in their order and checked settings.

    All of them are planned and checked before a tensor of the first one is read. What refers to a
    result that is not there yet is planned from the plan of that, and again when it is there.
    """
    *first, last = documents
    places = {str(one.name): out.with_name(f"{out.name}-{one.name}") for one in first}
    for place in (*places.values(), out):
        known = place is not out and has_record(place)
        check_output(place, settings.force or known, folder=not is_single(place))
    context, plans = Context(settings, download, dry_run), list[Prepared]()
    with contextlib.ExitStack() as stack:
        for one in first:
            plans.append(prepare(one, places[str(one.name)], context, resumable=True))
            context.add(plans[-1], stack)
        plans.append(prepare(last, out, context))
        room = check_room([plan for plan in plans if not plan.finished])
        if dry_run:
            before = tuple(plan.report for plan in plans[:-1])
            return replace(plans[-1].report, before=before, room=room)
    context.expected.clear()
    done: list[MergedCheckpoint] = []
    for plan in plans:
        made = plan
        if plan.absent:  # which is there now
            made = prepare(plan.document, plan.out, context, resumable=plan.document is not last)
        done.append(_carry_out(made, context))
    return replace(done[-1], before=tuple(done[:-1]))


def _carry_out(prepared: Prepared, context: Context) -> MergedCheckpoint:
    """Write the result of one document that was planned."""
    start, settings = time.perf_counter(), context.settings
    plan, report, target, out = prepared.plan, prepared.report, prepared.target, prepared.out
    if prepared.finished:
        return replace(report, resumed=len(plan.shards))
    with Journal(target, prepared.made_of, settings.durable) as journal:
        damaged = damaged_files(plan, journal.folder, journal.done)
        report = with_damage(report, journal.folder, damaged, context)
        for file in damaged:
            journal.forget(file)
        resumed = len(journal.done)
        try:
            check_room([prepared])
            tokenizer, late = WrittenTokenizer((), ()), tuple[str, ...]()
            if is_single(out):
                with hashing(files_to_hash(plan)) as hashes:
                    inputs = _write_weights(plan, journal, settings)
                    fill_hashes(plan, journal.folder / target.name, hashes())
            else:
                tokenizer = write_tokens(plan, journal.folder, prepared.template)
                inputs = _write_weights(plan, journal, settings)
                made_of = {MADE_OF: prepared.made_of, CHECKSUMS: dict(sorted(journal.done.items()))}
                late = write_beside(
                    plan,
                    report,
                    journal.folder,
                    prepared.located,
                    tokenizer,
                    context.results,
                    made_of,
                )
            _check_written(plan, journal, settings, inputs)
            _place(journal, target, out, settings)
        except OSError as error:
            raise explain(error, out) from error
    seconds = prepared.seconds + time.perf_counter() - start
    notes = (*report.notes, *tokenizer.notes, *late)
    return replace(report, seconds=seconds, resumed=resumed, notes=notes)


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
            checksum = run_shard(shard, plan.jobs, path, inputs, settings.threads, gate, told)
            journal.finished(shard.file, checksum)
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


def _documents(given: Given, as_mergekit: bool, trust: bool) -> tuple[Document, ...]:
    if isinstance(given, str | os.PathLike):
        return read_documents(Path(given), as_mergekit, trust=trust)
    several = given if isinstance(given, Sequence) else [given]
    found = [one for one in several if isinstance(one, Document | Mapping)]
    if not found or len(found) < len(several):
        raise SettingError(
            "merge_checkpoints takes `document` as a file in YAML, its content as a dict, or what"
            f" onefold.checkpoints.document_of or read_documents returns, not {shown(given)}."
        )
    return documents_from(found, as_mergekit, trust=trust)


def _seed(given: int | None) -> int | None:
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 0):
        raise SettingError(f"seed is {given!r}; give a whole number from 0.")
    return given


def _threads(given: int | None) -> int:
    if given is None:
        cores = getattr(os, "sched_getaffinity", None)
        return len(cores(0)) if cores is not None else os.cpu_count() or 1
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise SettingError(f"threads is {given!r}; give a whole number from 1.")
    return given
