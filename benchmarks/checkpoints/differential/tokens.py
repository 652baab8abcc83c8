"""Rows of vocabularies by their tokens, so that outputs of other numbers can be compared."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

ROWS = ("embed_tokens.weight", "lm_head.weight", "wte.weight", "word_embeddings.weight")


def numbers_of(folder: Path) -> dict[str, int]:
    """The number of each token of a folder's tokenizer.json."""
    content = json.loads((folder / "tokenizer.json").read_text())
    found = dict(content["model"]["vocab"])
    return found | {one["content"]: one["id"] for one in content["added_tokens"]}


def by_token(
    state: dict[str, Tensor], numbers: dict[str, int], order: list[str]
) -> tuple[dict[str, Tensor], int]:
    """A state whose vocabulary tensors have one row for each token, and how many others they had.

    Args:
        state: all tensors.
        numbers: of the tokens.
        order: tokens in the order of the rows that are returned.
    """
    rows = [numbers[token] for token in order]
    found, padding = dict(state), 0
    for name, values in state.items():
        if name.endswith(ROWS):
            found[name] = values[rows]
            padding = max(padding, values.shape[0] - len(numbers))
    return found, padding
