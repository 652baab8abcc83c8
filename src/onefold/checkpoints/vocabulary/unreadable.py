"""Folders whose tokens cannot be read: why, what to do, and whether two of them are equal."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from onefold.checkpoints.vocabulary import files
from onefold.checkpoints.vocabulary.content import NoTokenizerError, UnreadableTokenizerError
from onefold.errors import WeightsError


def unreadable(folder: Path) -> NoTokenizerError | UnreadableTokenizerError:
    """Why the tokens of a folder without tokenizer.json, vocab.json and vocab.txt are not read."""
    models = _models(folder)
    if not models:
        return NoTokenizerError(
            f"{folder} has no tokenizer files ({files.FAST}, {files.VOCAB_JSON} or"
            f" {files.VOCAB_TEXT}); copy those of the model that it stems from into it."
        )
    error = UnreadableTokenizerError(
        f"{models[0]} is a tokenizer whose tokens are not read here; write a {files.FAST} beside"
        f' it once: python -c "from transformers import AutoTokenizer as T;'
        f" T.from_pretrained('{folder}').save_pretrained('{folder}')\"."
    )
    error.digest = model_digest(folder) or ""
    return error


def model_digest(folder: Path) -> str | None:
    """A digest of the tokenizer's model and its added tokens; None: it has no model.

    Two folders with equal digests have equal tokens, also where only one of them has them as a
    tokenizer.json besides.

    Raises:
        WeightsError: a file cannot be read.
    """
    models = _models(folder)
    if not models:
        return None
    decoder = files.json_if_there(folder / files.SETTINGS).get("added_tokens_decoder") or {}
    added = {}
    if isinstance(decoder, dict):
        added = {
            number: one.get("content") for number, one in decoder.items() if isinstance(one, dict)
        }
    further = files.json_if_there(folder / files.ADDED)
    digest = hashlib.sha256(json.dumps([added, further], sort_keys=True).encode())
    for path in models:
        digest.update(path.name.encode() + b"\0" + bytes.fromhex(file_digest(path)))
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from None


def _models(folder: Path) -> list[Path]:
    return [folder / name for name in files.MODELS if (folder / name).is_file()]
