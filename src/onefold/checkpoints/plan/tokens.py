"""The vocabulary of a merge: what becomes of tokens, and what of the tokenizer's files.

A merge without a word of tokenizers, of folders without tokenizers or of networks without an
embedding of tokens has no plan for them: nothing is read and nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from onefold.checkpoints.document import Document, Reference
from onefold.checkpoints.layouts import Layout
from onefold.checkpoints.plan.token_rows import rows_in
from onefold.checkpoints.vocabulary import VocabularyPlan, plan_vocabulary, tokenizer_files
from onefold.errors import MembersError


class VocabularyWarning(UserWarning):
    """Something about the vocabularies of a merge that will surprise."""


def planned_tokens(
    document: Document,
    layouts: Mapping[Reference, Layout],
    folders: Mapping[Reference, Path],
    read: Callable[[Reference], Layout],
) -> tuple[VocabularyPlan | None, dict[Reference, Layout]]:
    """What becomes of the vocabularies of the models that a document merges.

    Args:
        document: the document.
        layouts: the models that are merged.
        folders: the folder of every model that the document names.
        read: reads the layout of another model, whose rows are wanted for single tokens.

    Returns:
        The plan (None: there is nothing to plan), and the layouts of those other models.

    Raises:
        MembersError: tokens differ without a decision, or do not fit together.
        SettingError: the document names a token or a row that is not there.
        WeightsError: a file of a tokenizer is missing or broken.
    """
    decision = document.tokenizer
    others = {model: read(model) for model in document.row_models() if model not in layouts}
    known = {model: rows_in(layout) for model, layout in (*layouts.items(), *others.items())}
    counts = {model: rows for model, rows in known.items() if rows is not None}
    if decision is None:
        having = any(next(tokenizer_files(folders[model]), None) for model in layouts)
        if not counts or not having:
            return None, {}
    plan = plan_vocabulary(
        folders, document.models(), document.base, decision, counts, by_number=document.as_mergekit
    )
    for model, rows in plan.members.items():
        if not rows.identity and model not in counts:
            raise MembersError(
                f"{model} has no embedding of tokens that can be told by its name, so that"
                " tokenizers cannot be merged; leave the tokenizer out of the document."
            )
    return plan, others
