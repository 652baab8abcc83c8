"""The tokens of models, read from their tokenizer.json, and the tokenizer of the result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onefold.checkpoints.document import Reference
from onefold.errors import MembersError

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
DECODER = "added_tokens_decoder"  # in the config, which repeats the added tokens
FILES = (
    FILE,
    CONFIG,
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
)


@dataclass(frozen=True)
class Tokens:
    """The tokens of one tokenizer.

    Attributes:
        numbers: the number of each token.
        added: the entries of those that were added behind the vocabulary.
    """

    numbers: Mapping[str, int]
    added: Mapping[str, Mapping[str, Any]]


def tokens_of(folder: Path) -> Tokens | None:
    """The tokens of a fast tokenizer; None: they cannot be told."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        vocab = content["model"]["vocab"]
        if isinstance(vocab, list):  # of a unigram model: pairs of a token and its score
            found = {str(token): number for number, (token, _) in enumerate(vocab)}
        else:
            found = {str(token): int(number) for token, number in vocab.items()}
        added = {str(one["content"]): dict(one) for one in content.get("added_tokens") or ()}
        found.update({token: int(one["id"]) for token, one in added.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Tokens(found, added)


def differing(known: Mapping[Reference, Tokens | None]) -> tuple[Reference, Reference, int] | None:
    """Two models whose tokens or numbers differ, and in how many; None: no such two are known."""
    pairs = [(model, tokens.numbers) for model, tokens in known.items() if tokens is not None]
    for model, numbers in pairs[1:]:
        if numbers != pairs[0][1]:
            count = len(set(numbers.items()) ^ set(pairs[0][1].items()))
            return pairs[0][0], model, count
    return None


def all_known(
    folders: Mapping[Reference, Path], known: Mapping[Reference, Tokens | None]
) -> dict[Reference, Tokens]:
    """The tokens of all models.

    Raises:
        MembersError: those of one cannot be told.
    """
    for model, tokens in known.items():
        if tokens is None:
            raise MembersError(
                f"The tokens of {model} cannot be told, as {folders[model] / FILE} cannot be read;"
                " save a fast tokenizer there, or leave the tokenizer out of the document."
            )
    return {model: tokens for model, tokens in known.items() if tokens is not None}


def copy_tokenizer(folder: Path, target: Path) -> None:
    """Copy the files of a tokenizer, in place of another's.

    Raises:
        OSError: one cannot be read or written.
    """
    for name in FILES:
        (target / name).unlink(missing_ok=True)
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)


def append_tokens(target: Path, added: Sequence[Mapping[str, Any]]) -> None:
    """Enter added tokens in the files of a tokenizer.

    Raises:
        OSError: they cannot be read or written.
    """
    if not added:
        return
    content = json.loads((target / FILE).read_text(encoding="utf-8"))
    content["added_tokens"] = [*(content.get("added_tokens") or ()), *added]
    (target / FILE).write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    path = target / CONFIG
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if isinstance(config, dict) and isinstance(config.get(DECODER), dict):
        for one in added:
            entry = {key: value for key, value in one.items() if key != "id"}
            config[DECODER][str(one["id"])] = entry
        path.write_text(json.dumps(config, ensure_ascii=False, indent=2), encoding="utf-8")
