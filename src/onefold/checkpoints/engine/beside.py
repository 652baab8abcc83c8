"""What is written beside the weights: index, config, tokenizer, card and records."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onefold._version import __version__
from onefold.checkpoints.document import Located, Reference, mergekit_yaml, record_of
from onefold.checkpoints.engine.card import card_of, library_of
from onefold.checkpoints.engine.finished import RECORD
from onefold.checkpoints.engine.result import MergedCheckpoint
from onefold.checkpoints.layouts.reading import CONFIG
from onefold.checkpoints.plan.companions import config_of, copy_companions
from onefold.checkpoints.plan.components import component_configs, copy_pipeline
from onefold.checkpoints.plan.planning import Plan
from onefold.checkpoints.plan.shards import indices_of
from onefold.checkpoints.vocabulary import VocabularyPlan, with_vocabulary, write_tokenizer

GENERATION = "generation_config.json"


@dataclass(frozen=True)
class WrittenTokenizer:
    """The tokenizer of a result.

    Attributes:
        copied: the names of files that were copied unchanged.
        notes: one sentence for each thing that may surprise.
    """

    copied: tuple[str, ...]
    notes: tuple[str, ...]


def write_tokens(plan: Plan, folder: Path, template: str | None) -> WrittenTokenizer:
    """Write the tokenizer into a folder, before the weights: what cannot be written is told then.

    Args:
        plan: the plan that is carried out.
        folder: where it is written.
        template: the chat template; None: the donor's.

    Raises:
        WeightsError: a file of a tokenizer cannot be extended.
        OSError: a file cannot be read or written.
    """
    donor = plan.layouts[plan.donor]
    own = VocabularyPlan({}, None, plan.donor, donor.folder if donor.path.is_dir() else None)
    tokens = own if plan.vocabulary is None or plan.vocabulary.folder is None else plan.vocabulary
    names, notes = write_tokenizer(tokens, folder, template)
    copied = tuple(
        name
        for name in names
        if tokens.folder is not None and _equal(tokens.folder / name, folder / name)
    )
    return WrittenTokenizer(copied, tuple(notes))


def write_beside(
    plan: Plan,
    report: MergedCheckpoint,
    folder: Path,
    located: Mapping[Reference, Located],
    tokenizer: WrittenTokenizer,
    results: Mapping[str, Path],
    made_of: Mapping[str, Any],
) -> tuple[str, ...]:
    """Write all the rest of it.

    Args:
        plan: the plan that was carried out.
        report: what is told of it.
        folder: where it is written.
        located: where the models of the document are.
        tokenizer: what was written of the tokenizer.
        results: the folders of other documents, by their names.
        made_of: what the result depends on and what files hold, for a run that goes on.

    Returns:
        Sentences on numbers of tokens in configs that are left as they are.

    Raises:
        OSError: the disk refuses.
    """
    document, donor = plan.document, plan.layouts[plan.donor]
    texts: dict[str, str | None] = dict(indices_of(plan.shards, plan.jobs))
    copied = copy_pipeline(donor, folder) if donor.components else copy_companions(donor, folder)
    texts |= component_configs(donor, document.out_dtype or document.dtype)
    told: list[str] = []
    if config := config_of_result(plan, told):
        texts[CONFIG] = _json(config)
    if GENERATION in copied and (changed := _generation(folder / GENERATION, plan, told)):
        texts[GENERATION] = changed
        copied.remove(GENERATION)
    copied = sorted({*copied, *tokenizer.copied})
    notes = [*report.notes, *tokenizer.notes, *told]
    texts["README.md"] = card_of(report.path.name, document, notes, copied, library_of(donor))
    texts["mergekit_config.yml"] = None if donor.components else mergekit_yaml(document, results)
    texts[RECORD] = _json(_record(plan, report, located, notes, copied) | dict(made_of))
    for name, text in texts.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    return tuple(told)


def config_of_result(plan: Plan, told: list[str]) -> Mapping[str, Any]:
    """The config of the result; {}: the donor has none.

    Args:
        plan: the plan.
        told: takes sentences on numbers of tokens that are left as they are.
    """
    document, donor = plan.document, plan.layouts[plan.donor]
    config = config_of(donor, document.out_dtype or document.dtype, plan.layers)
    return _with_tokens(config, plan, told) if config else {}


def _with_tokens(config: Mapping[str, Any], plan: Plan, told: list[str]) -> Mapping[str, Any]:
    """A config with the numbers of tokens of the result, where those of the donor changed."""
    vocabulary = plan.vocabulary
    if vocabulary is None or vocabulary.members[plan.donor].identity:
        return config
    changed, notes = with_vocabulary(config, vocabulary, vocabulary.vocabularies.get(plan.donor))
    told += notes
    return changed


def _generation(path: Path, plan: Plan, told: list[str]) -> str | None:
    """The config of generation with other numbers of tokens; None: it stays as it is."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    changed = _with_tokens(content, plan, told) if isinstance(content, dict) else content
    return None if changed == content else _json(changed)


def _record(
    plan: Plan,
    report: MergedCheckpoint,
    located: Mapping[Reference, Located],
    notes: list[str],
    copied: list[str],
) -> dict[str, Any]:
    """What was done, as onefold's own record holds it."""
    record = record_of(plan.document, located)
    record |= {"version": __version__, "donor": report.donor, "decided": notes}
    record |= {"task_vectors": dict(report.task_vectors)}
    if report.warned:
        record["warnings"] = list(report.warned)
    if report.seed is not None:
        record["seed"] = report.seed
    if report.tokenizer is not None:
        record["tokenizer"] = report.tokenizer
    if report.rows:
        record["vocabulary_rows"] = {model: dict(counts) for model, counts in report.rows.items()}
    copies = [job.name for job in plan.jobs if job.method is None]
    return record | {"copied_files": copied, "copied_tensors": copies}


def _equal(first: Path, second: Path) -> bool:
    if second.is_dir():
        return True
    return first.is_file() and filecmp.cmp(first, second, shallow=False)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
