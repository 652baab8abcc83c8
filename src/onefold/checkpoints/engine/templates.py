"""The chat template of a result, where the document asks for one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onefold.checkpoints.document import Document, Reference
from onefold.checkpoints.vocabulary.templates import chosen_template, own_template


def asked_template(
    document: Document, folders: Mapping[Reference, Path], tokens: Mapping[str, int]
) -> tuple[str | None, list[str]]:
    """The template that the document asks for, and notes on it; None: the donor's stays.

    Args:
        document: the document.
        folders: the folder of every model.
        tokens: those of the result; empty: they are not known.

    Raises:
        SettingError: the template is neither known nor one of Jinja.
        WeightsError: a model's template cannot be read.
    """
    if document.chat_template is None:
        return None, []
    first = [] if document.base is None else [document.base]
    models = [*first, *(model for model in document.models() if model not in first)]
    templates = [own_template(folders[model]) for model in models]
    return chosen_template(document.chat_template, templates, tokens)
