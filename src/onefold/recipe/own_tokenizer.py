"""Texts without a named tokenizer get that of the members' folders, if all have the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from onefold.checkpoints.vocabulary.content import Vocabulary
from onefold.checkpoints.vocabulary.differing import difference
from onefold.checkpoints.vocabulary.files import (
    ADDED,
    FAST,
    MERGES,
    MODELS,
    SETTINGS,
    VOCAB_JSON,
    VOCAB_TEXT,
    json_if_there,
)
from onefold.checkpoints.vocabulary.reading import vocabulary_of
from onefold.checkpoints.vocabulary.unreadable import file_digest
from onefold.documents.part import Part
from onefold.documents.texts import with_texts
from onefold.errors import MembersError, SettingError, WeightsError
from onefold.recipe.document import DataPart, Request
from onefold.sources.data import data_sources
from onefold.sources.names import parse, place_in
from onefold.weights.folders import all_pretrained

OTHERS = (ADDED, MERGES, *MODELS, VOCAB_JSON, VOCAB_TEXT)
LENGTHS = ("padding", "truncation")  # parts of tokenizer.json that the last use has left
MATTER = (  # keys of tokenizer_config.json by which texts get other numbers
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "do_lower_case",
    "padding_side",
    "strip_accents",
    "tokenize_chinese_chars",
    "truncation_side",
)
WORDS = ("text", "block")  # options of a data set of the library datasets that is texts

Asked = TypeVar("Asked", bound=Request)


def with_tokenizer(asked: Asked) -> Asked:
    """A document in which every source of texts has a tokenizer, as far as its folders tell one.

    Members that are folders of `save_pretrained` tell it, or else the folder of the network.

    Args:
        asked: the document; its paths are absolute.

    Raises:
        MembersError: the folders have different tokenizers, and texts are read.
    """
    paths = [member.path for member in getattr(asked, "members", ())]
    folders = [Path(path) for path in paths]
    if not all_pretrained(folders):
        folders = place_in(asked.model) if asked.model.startswith("hf:") else []
    if not all_pretrained(folders):
        return asked

    def change(part: Part, key: str, text: str) -> str:
        is_data = isinstance(part, DataPart) and key == "source"
        if not (is_data or (isinstance(part, Request) and key == "data")) or not _lacks_one(text):
            return text
        having = [folder for folder in folders if _has_one(folder)]
        if not having:  # the source says what it needs
            return text
        _check_equal(having, text)
        mark = "&" if "?" in text else "?"
        return f"{text}{mark}tokenizer={quote(str(having[0]), safe='/~:, ')}"

    return with_texts(asked, change)


def _lacks_one(text: str) -> bool:
    """Whether a source is of texts, and names no tokenizer."""
    try:
        name = parse(text, data_sources, {})
    except SettingError:  # told where the source is read
        return False
    texts = name.key == "text:" or (name.key == "hfdata:" and any(o in name.options for o in WORDS))
    return texts and "tokenizer" not in name.options


def _has_one(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (FAST, *OTHERS))


def _check_equal(folders: list[Path], source: str) -> None:
    """Raises MembersError if tokenizers differ."""
    first, *others = folders
    for other in others:
        reason = _difference(first, other)
        if reason:
            raise MembersError(
                f"{reason}; say whose numbers the texts of '{source}' get by tokenizer=FOLDER in"
                " its name."
            )


def _difference(first: Path, other: Path) -> str:
    """How the tokenizer of a folder differs from another one's; "" if it does not."""
    parts, theirs = _parts(first), _parts(other)
    differing = [name for name in {**parts, **theirs} if parts.get(name) != theirs.get(name)]
    if not differing:
        return ""
    try:
        found: dict[Any, Vocabulary] = {one: vocabulary_of(one) for one in (first, other)}
    except WeightsError:  # of a form that only transformers reads
        found = {}
    named = f"The tokenizers of {first} and {other} differ in {differing[0]}"
    return difference(found) or named


def _parts(folder: Path) -> Mapping[str, Any]:
    """What decides the numbers of a folder's tokenizer, by the name of the part."""
    fast, settings = json_if_there(folder / FAST), json_if_there(folder / SETTINGS)
    found = {f"'{key}' of {FAST}": one for key, one in fast.items() if key not in LENGTHS}
    found |= {f"'{key}' of {SETTINGS}": settings[key] for key in MATTER if key in settings}
    if fast:  # transformers reads no other file of tokens then
        return found
    return found | {
        name: file_digest(folder / name) for name in OTHERS if (folder / name).is_file()
    }
