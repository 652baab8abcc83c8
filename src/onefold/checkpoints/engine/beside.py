"""What is written beside the weights: index, config, tokenizer, card and records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from onefold._version import __version__
from onefold.checkpoints.document import Document, Located, Reference, mergekit_yaml, record_of
from onefold.checkpoints.engine.card import card_of
from onefold.checkpoints.engine.companions import config_text, copy_companions
from onefold.checkpoints.engine.planning import Plan
from onefold.checkpoints.engine.result import MergedCheckpoint
from onefold.checkpoints.engine.shards import index_of, stem_of
from onefold.checkpoints.engine.tokenizers import append_tokens, copy_tokenizer
from onefold.checkpoints.layouts.reading import CONFIG

RECORD = "onefold_merge.json"


def write_beside(
    plan: Plan,
    report: MergedCheckpoint,
    folder: Path,
    located: Mapping[Reference, Located],
    tokenizer: Path | None,
    results: Mapping[str, Path],
) -> None:
    """Write all of it.

    Args:
        plan: the plan that was carried out.
        report: what is told of it.
        folder: where it is written.
        located: where the models of the document are.
        tokenizer: the folder of the tokenizer; None: the donor's.
        results: the folders of other documents, by their names.

    Raises:
        OSError: the disk refuses.
    """
    document, donor = plan.document, plan.layouts[plan.donor]
    stem = stem_of(plan.shards[0].file)
    texts: dict[str, str | None] = dict([index_of(plan.shards, plan.jobs, stem) or ("", None)])
    copied = copy_companions(donor, folder)
    if tokenizer is not None and tokenizer != donor.folder:
        copy_tokenizer(tokenizer, folder)
    rows = None if plan.vocabulary is None else plan.vocabulary.size
    append_tokens(folder, () if plan.vocabulary is None else plan.vocabulary.added)
    texts[CONFIG] = config_text(donor, document.out_dtype or document.dtype, plan.layers, rows)
    texts["README.md"] = card_of(report.path.name, document, report.notes, copied)
    texts["mergekit_config.yml"] = mergekit_yaml(document, results)
    record = record_of(document, located)
    record |= {"version": __version__, "donor": report.donor, "decided": list(report.notes)}
    record |= {"task_vectors": dict(report.task_vectors)}
    copies = [job.name for job in plan.jobs if job.method is None]
    record |= {"copied_files": copied, "copied_tensors": copies}
    texts[RECORD] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    for name, text in texts.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")


def tokenizer_folder(document: Document, folders: Mapping[Reference, Path]) -> Path | None:
    """The folder of the tokenizer that the document names; None: the donor's."""
    wanted = document.tokenizer
    if wanted is None or not isinstance(wanted.source, Reference):
        return None
    return folders[wanted.source]
