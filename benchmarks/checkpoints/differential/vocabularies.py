"""Vocabularies of the tiny models, with files as the `tokenizers` library reads them.

`plain` has fewer tokens than the models have rows, as many published models do. `more` is `plain`
with three tokens added behind. `other` has some of the tokens under other numbers, and some of its
own.
"""

from __future__ import annotations

import json
from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PAIRS = [a + b for a in "abcdefg" for b in "hijklmno"]
OTHER = [a + b for a in "abcdefg" for b in "pqr"]
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]


def tokens(name: str) -> list[str]:
    """The tokens of a vocabulary in the order of their numbers."""
    if name == "other":
        return [*SPECIAL, *LETTERS[::-1], *PAIRS[:30][::-1], *OTHER]
    plain = [*SPECIAL, *LETTERS, *PAIRS]
    return plain if name == "plain" else [*plain, "<|one|>", "<|two|>", "<|three|>"]


def rows(name: str) -> int:
    """The number of rows of an embedding; those behind the last token are padding."""
    return {"plain": 96, "more": 96, "other": len(tokens("other"))}[name]


def write(folder: Path, name: str) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    listed = tokens(name)
    added = [token for token in listed if token.startswith("<")]
    plain = {token: i for i, token in enumerate(listed) if not token.startswith("<|")}
    merges = [list(token) for token in listed if len(token) == 2]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": listed.index(token),
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in added
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": plain,
            "merges": merges,
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    named = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "model_max_length": 32,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
