"""The tokenizer files of the result.

Without new tokens the donor's files are copied unchanged, byte by byte. With new ones, each file
that names tokens is written so that all of them agree on the numbers:

    tokenizer.json           added tokens behind those that are there; pieces into the model
    vocab.json, vocab.txt    all tokens, where there is no tokenizer.json or pieces are added
    merges.txt               merges that make new pieces, behind those that are there
    added_tokens.json        all added tokens, where the donor has it or a tokenizer.model
    tokenizer_config.json    all added tokens, by number
    tokenizer.model          copied while only added tokens are new; pieces cannot be put into it
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onefold.checkpoints.vocabulary import files
from onefold.checkpoints.vocabulary.extending import (
    extended_fast,
    extended_merges,
    new_merges,
    whole_entries,
)
from onefold.checkpoints.vocabulary.plan import VocabularyPlan
from onefold.checkpoints.vocabulary.reading import pieces_of, vocabulary_of
from onefold.errors import WeightsError

Json = dict[str, Any]
FURTHER = ("tokenizer*.model", "vocab*.txt")  # of models with several tokenizers


def tokenizer_files(folder: Path) -> Iterator[Path]:
    """The files and folders of a tokenizer in a folder."""
    names = dict.fromkeys((*files.ALL, *files.MODELS, files.MORE_TEMPLATES))
    for pattern in FURTHER:
        names.update(dict.fromkeys(sorted(path.name for path in folder.glob(pattern))))
    for name in names:
        if (folder / name).exists():
            yield folder / name


def write_tokenizer(
    plan: VocabularyPlan, target: Path, template: str | None = None
) -> tuple[list[str], list[str]]:
    """Write the tokenizer of a merge into a folder.

    Files of a tokenizer that are in the folder already are replaced, and those that the result
    has not are removed.

    Args:
        plan: what becomes of the vocabularies.
        target: the folder, which exists.
        template: the chat template; None: the donor's.

    Returns:
        The names of what was written, and one sentence for each thing that may surprise.

    Raises:
        WeightsError: a file of a tokenizer is broken, or cannot be extended.
        OSError: a file cannot be read or written.
    """
    for path in list(tokenizer_files(target)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    names: list[str] = []
    notes: list[str] = []
    if plan.folder is not None:
        contents = _extended(plan, notes) if plan.additions else {}
        for path in tokenizer_files(plan.folder):
            if path.name in contents:
                continue
            if path.is_dir():
                shutil.copytree(path, target / path.name)
            else:
                shutil.copyfile(path, target / path.name)
            names.append(path.name)
        for name, content in contents.items():
            if content is not None:
                _write(target / name, content)
                names.append(name)
        if contents:
            _check_written(plan, target)
    if template is not None:
        names += _write_template(target, template)
    return sorted(set(names)), notes


def _extended(plan: VocabularyPlan, notes: list[str]) -> dict[str, str | None]:
    """The content of each file that changes; None: the donor's is left out."""
    folder = plan.folder
    assert folder is not None
    entries = whole_entries(plan)
    pieces = any(one.entry is None for one in plan.additions.values())
    fast = folder / files.FAST
    found: dict[str, str | None] = {}
    if fast.is_file():
        found[files.FAST] = files.json_text(extended_fast(plan, files.json_of(fast), fast))
    if pieces or not fast.is_file():
        found.update(_plain_files(plan, folder))
    settings = files.json_if_there(folder / files.SETTINGS)
    decoder = settings.get("added_tokens_decoder") or {}
    settings["added_tokens_decoder"] = {
        str(entry["id"]): decoder.get(str(entry["id"]), _without_number(entry)) for entry in entries
    }
    found[files.SETTINGS] = files.json_text(settings)
    models = [name for name in files.MODELS if (folder / name).is_file()]
    if (folder / files.ADDED).is_file() or (models and not pieces):
        found[files.ADDED] = files.json_text(_added(plan, folder, entries))
    if pieces and models:
        found.update(dict.fromkeys(models))
        notes.append(
            f"{', '.join(models)} is left out: new pieces cannot be put into it, and the tokenizer"
            f" is read from {files.FAST}."
        )
    return found


def _added(plan: VocabularyPlan, folder: Path, entries: list[Json]) -> Json:
    """The content of added_tokens.json: the added tokens that a tokenizer.model has not."""
    fast = folder / files.FAST
    pieces = pieces_of(files.json_of(fast)["model"], fast) if fast.is_file() else {}
    old = files.json_if_there(folder / files.ADDED)
    new = {
        entry["content"]: entry["id"]
        for entry in entries
        if entry["content"] in plan.additions or (pieces and entry["content"] not in pieces)
    }
    return {**old, **new}


def _check_written(plan: VocabularyPlan, target: Path) -> None:
    """Read the files back: each token must have the number of its row.

    Raises:
        WeightsError: one has another.
    """
    tokens = vocabulary_of(target).tokens
    if tokens == plan.tokens:
        return
    token = min({one for one, _ in tokens.items() ^ plan.tokens.items()})
    raise WeightsError(
        f"The tokenizer of {plan.folder} cannot be extended: the token {token!r} would have the"
        f" number {tokens.get(token)} instead of {plan.tokens.get(token)}; take the tokenizer of"
        " one model."
    )


def _plain_files(plan: VocabularyPlan, folder: Path) -> dict[str, str | None]:
    """vocab.json, vocab.txt and merges.txt with all tokens, where the donor has them."""
    found: dict[str, str | None] = {}
    by_number = sorted(plan.tokens.items(), key=lambda one: one[1])
    if (folder / files.VOCAB_JSON).is_file():
        found[files.VOCAB_JSON] = files.json_text(dict(by_number))
    if (folder / files.VOCAB_TEXT).is_file():
        found[files.VOCAB_TEXT] = "".join(f"{token}\n" for token, _ in by_number)
    path = folder / files.MERGES
    if path.is_file():
        found[files.MERGES] = extended_merges(files.text_of(path), new_merges(plan))
    return found


def _without_number(entry: Json) -> Json:
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"content": entry["content"], **{flag: bool(entry.get(flag)) for flag in flags}}


def _write_template(target: Path, template: str) -> list[str]:
    """Write a chat template wherever programs look for it: old ones look into the settings."""
    _write(target / files.TEMPLATE, template)
    names = [files.TEMPLATE]
    for name in (files.SETTINGS, files.TEMPLATE_JSON):
        path = target / name
        content = copy.deepcopy(files.json_if_there(path))
        if "chat_template" in content:
            old = content["chat_template"]
            content["chat_template"] = (
                _replaced(old, template) if isinstance(old, list) else template
            )
            _write(path, files.json_text(content))
            names.append(name)
    return names


def _replaced(old: list[Json], template: str) -> list[Json]:
    others = [one for one in old if one.get("name") != "default"]
    return [{"name": "default", "template": template}, *others]


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
