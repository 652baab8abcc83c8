"""Whether models have the same tokens, read from their tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onefold.checkpoints.document import Document, Reference
from onefold.checkpoints.layouts import Layout
from onefold.errors import MembersError

FILE = "tokenizer.json"


def tokens_of(folder: Path) -> dict[str, int] | None:
    """The tokens of a fast tokenizer with their numbers; None: they cannot be told."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        found = _vocabulary(content["model"]["vocab"])
        found.update({one["content"]: one["id"] for one in content.get("added_tokens") or ()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found


def check_tokenizers(
    document: Document, layouts: Mapping[Reference, Layout], folders: Mapping[Reference, Path]
) -> tuple[Path | None, list[str]]:
    """The folder whose tokenizer is copied in place of the donor's, and notes.

    Args:
        document: the document.
        layouts: the models that are merged.
        folders: where all models of the document are, those of tokenizers among them.

    Raises:
        MembersError: the document asks for tokenizers that differ to be merged.
    """
    known = {model: tokens_of(layout.folder) for model, layout in layouts.items()}
    told = {model: tokens for model, tokens in known.items() if tokens is not None}
    differing = _differing(told)
    tokenizer = document.tokenizer
    if tokenizer is None:
        if differing is None:
            return None, []
        first, other, count = differing
        text = f"The tokenizers of {first} and {other} differ in {count} tokens or their numbers"
        return None, [f"{text}; that of the donor is kept, and rows are merged by number."]
    if differing is not None or tokenizer.tokens or tokenizer.pad_to_multiple_of is not None:
        raise MembersError(
            "The document asks for merged tokenizers, and rows of embeddings are not yet moved"
            " between vocabularies here; leave the tokenizer out if all models have one, or use"
            " mergekit for this merge."
        )
    if isinstance(tokenizer.source, Reference):
        folder = folders[tokenizer.source]
        own = tokens_of(folder)
        if told and own not in told.values():
            raise MembersError(
                f"The tokenizer of {tokenizer.source} has other tokens than those of the models;"
                " choose the tokenizer of one of them."
            )
        return folder, [f"The tokenizer is that of {tokenizer.source}; all have the same tokens."]
    return None, ["All tokenizers have the same tokens, so that the donor's is kept as it is."]


def _differing(
    told: Mapping[Reference, Mapping[str, int]],
) -> tuple[Reference, Reference, int] | None:
    pairs = list(told.items())
    for model, tokens in pairs[1:]:
        if tokens != pairs[0][1]:
            count = len(set(tokens.items()) ^ set(pairs[0][1].items()))
            return pairs[0][0], model, count
    return None


def _vocabulary(vocab: Any) -> dict[str, int]:
    if isinstance(vocab, list):  # of a unigram model: pairs of a token and its score
        return {token: number for number, (token, _) in enumerate(vocab)}
    return dict(vocab)
