"""The tokenizers inside of pipelines, which stand in folders of their own, must be the same.

Rows of a text encoder's embedding stand for tokens. In a pipeline they are merged by number, so
that tokenizers which differ would mix rows of different tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

from onefold.checkpoints.document import Reference
from onefold.checkpoints.layouts import Layout
from onefold.checkpoints.vocabulary import (
    NoTokenizerError,
    UnreadableTokenizerError,
    Vocabulary,
    difference,
    tokenizer_files,
    vocabulary_of,
)
from onefold.errors import MembersError


def check_pipeline_tokens(layouts: Mapping[Reference, Layout]) -> list[str]:
    """Refuse pipelines whose tokenizers differ.

    Args:
        layouts: all models; without components nothing is looked at.

    Returns:
        A sentence on each tokenizer that cannot be read and has other files in some models.

    Raises:
        MembersError: the tokens of two models differ.
        WeightsError: a file of a tokenizer is broken.
    """
    first = next(iter(layouts.values()))
    if not first.components:
        return []
    notes = []
    folders = [path for path in sorted(first.folder.iterdir()) if path.is_dir()]
    for name in (path.name for path in folders if next(tokenizer_files(path), None) is not None):
        known: dict[Reference, Vocabulary] = {}
        digests = set()
        for model, layout in layouts.items():
            try:
                known[model] = vocabulary_of(layout.folder / name)
            except NoTokenizerError:
                continue
            except UnreadableTokenizerError as error:
                digests.add(error.digest)
        if text := difference(known):
            raise MembersError(
                f"{text}, in the folder '{name}'; rows of different tokens are not mixed, so merge"
                " pipelines of one tokenizer, or the folders of other components by themselves."
            )
        if len(digests) > 1 or (digests and known):
            notes.append(
                f"The tokenizers in the folder '{name}' cannot be compared, as their files differ"
                " and cannot all be read; rows are merged by number."
            )
    return notes
