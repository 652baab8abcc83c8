"""The files of a tokenizer as text and JSON, and their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onefold.errors import WeightsError, shown
from onefold.weights.paths import check_ordinary

FAST = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"
ADDED = "added_tokens.json"
VOCAB_JSON = "vocab.json"
VOCAB_TEXT = "vocab.txt"
MERGES = "merges.txt"
CONFIG = "config.json"
GENERATION = "generation_config.json"
TEMPLATE = "chat_template.jinja"
TEMPLATE_JSON = "chat_template.json"
MORE_TEMPLATES = "additional_chat_templates"
# SentencePiece, tiktoken and Mistral's own format. None of them is read here.
MODELS = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spm.model",
    "tokenizer.model.v3",
    "tekken.json",
    "qwen.tiktoken",
)
ALL = (FAST, SETTINGS, SPECIAL, ADDED, VOCAB_JSON, VOCAB_TEXT, MERGES, TEMPLATE, TEMPLATE_JSON)


def text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        WeightsError: it cannot be read, or it is not UTF-8.
    """
    try:
        check_ordinary(path)
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise WeightsError(
            f"{path} is no UTF-8 text at byte {error.start}; copy it again from where the model"
            " is from."
        ) from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from None


def json_of(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        WeightsError: it is broken (told with its line), names a key twice, or holds no object.
    """
    try:
        content = json.loads(text_of(path), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise WeightsError(
            f"{path} is broken JSON at line {error.lineno}, column {error.colno}: {error.msg};"
            " copy it again from where the model is from."
        ) from None
    except RecursionError:
        raise WeightsError(f"{path} is nested too deeply for JSON of a tokenizer.") from None
    except _TwiceError as error:
        raise WeightsError(
            f"{path} names {error.key!r} twice, so that its value is in doubt; copy it again from"
            " where the model is from."
        ) from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} must hold a JSON object, not {shown(content)}.")
    return content


def json_if_there(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; an empty one where there is no file.

    Raises:
        WeightsError: as `json_of`.
    """
    return json_of(path) if path.is_file() else {}


def json_text(content: Mapping[str, Any]) -> str:
    """JSON as the files of tokenizers are written: indented, UTF-8, one line at the end."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates, which UTF-8 cannot hold
        return json.dumps(content, indent=2) + "\n"
    return text


class _TwiceError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _TwiceError(key)
            seen.add(key)
    return found
