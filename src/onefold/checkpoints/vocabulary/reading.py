"""The vocabulary of a model folder from its tokenizer files, without transformers.

    tokenizer.json           read first; added tokens of tokenizer_config.json are added to it
    vocab.json, merges.txt   BPE, where there is no tokenizer.json
    vocab.txt                WordPiece, one token a line, where there is none of these
    tokenizer.model, ...     not read: refused, with what to run once so that it can be

Added tokens come from tokenizer.json and from `added_tokens_decoder` of tokenizer_config.json, or
from added_tokens.json where neither names any, which is the order of transformers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from onefold.checkpoints.vocabulary import files
from onefold.checkpoints.vocabulary.content import Kind, Vocabulary
from onefold.checkpoints.vocabulary.templates import templates_of
from onefold.checkpoints.vocabulary.unreadable import file_digest, unreadable
from onefold.errors import WeightsError, shown

Entries = dict[str, Mapping[str, Any]]
Fast = tuple[Kind, dict[str, int], Entries]
KINDS = ("BPE", "WordPiece", "Unigram", "WordLevel")
LIMIT = 1 << 24  # numbers of tokens; a higher one is a mistake that would fill the memory
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass
class Read:
    """What was read of other folders. Fine-tunes mostly have equal files.

    Attributes:
        fast: of each tokenizer.json, by the digest of the file.
        folders: of all files of a tokenizer, by their digests.
    """

    fast: dict[str, Fast] = field(default_factory=dict)
    folders: dict[tuple[str | None, ...], Vocabulary] = field(default_factory=dict)


def vocabulary_of(folder: Path, rows: int | None = None, *, read: Read | None = None) -> Vocabulary:
    """The vocabulary of a model folder.

    Args:
        folder: the folder of the model.
        rows: how many rows its embedding has; None: the `vocab_size` of its config.json.
        read: what was read of other folders; files that are equal are not read twice.

    Raises:
        NoTokenizerError: the folder has no tokenizer files.
        UnreadableTokenizerError: its tokenizer has a form that is not read here.
        WeightsError: a file is broken, or tokens or numbers are there twice.
    """
    read = read or Read()
    rows = _rows(folder) if rows is None else rows
    digests = tuple(_digest(folder / name) for name in files.ALL)
    if digests[0] is not None and digests in read.folders and not _has_more(folder):
        return replace(read.folders[digests], folder=folder, rows=rows)
    found = _read_folder(folder, rows, read, digests[0])
    if not _has_more(folder):
        read.folders[digests] = found
    return found


def _read_folder(folder: Path, rows: int | None, read: Read, digest: str | None) -> Vocabulary:
    settings = files.json_if_there(folder / files.SETTINGS)
    kind, tokens, entries, source = _main_files(folder, read, digest)
    added = {**entries, **_further(folder, tokens, entries, settings, source)}
    numbers = dict(tokens)
    for token, entry in added.items():
        numbers[token] = entry["id"]
    _check_numbers(numbers, source)
    named = _named_special(folder, settings)
    special = {token for token, entry in added.items() if entry.get("special")}
    special.update(token for token in named if token in numbers)
    return Vocabulary(
        folder=folder,
        kind=kind,
        tokens=numbers,
        added=added,
        special=tuple(sorted(special, key=numbers.__getitem__)),
        templates=templates_of(folder, settings),
        rows=rows,
    )


def _digest(path: Path) -> str | None:
    return file_digest(path) if path.is_file() else None


def _has_more(folder: Path) -> bool:
    """Whether there are templates that the digests leave out."""
    return (folder / files.MORE_TEMPLATES).exists()


def pieces_of(model: Mapping[str, Any], path: Path) -> dict[str, int]:
    """The pieces of the part `model` of a tokenizer.json with their numbers.

    Raises:
        WeightsError: it has none, or one is there twice.
    """
    vocab = model.get("vocab")
    if isinstance(vocab, list):  # of a Unigram model: pairs of a piece and its score
        return _listed((one[0] if isinstance(one, list) and one else one for one in vocab), path)
    if not isinstance(vocab, dict):
        raise WeightsError(f"{path} has no vocabulary under 'model': 'vocab' is {shown(vocab)}.")
    numbers = vocab.values()
    if not {type(number) for number in numbers} <= {int} or (
        numbers and not 0 <= min(numbers) <= max(numbers) < LIMIT
    ):
        for token, number in vocab.items():  # one of them is told
            _check_number(token, number, path)
    return vocab


def kind_of_model(model: Mapping[str, Any], path: Path) -> Kind:
    """The kind of the part `model` of a tokenizer.json; old files do not name it.

    Raises:
        WeightsError: it is of a kind that is not known.
    """
    kind = model.get("type")
    if kind is None:
        if isinstance(model.get("vocab"), list):
            kind = "Unigram"
        elif "merges" in model:
            kind = "BPE"
        else:
            kind = "WordPiece" if "max_input_chars_per_word" in model else "WordLevel"
    if kind not in KINDS:
        raise WeightsError(f"{path} has a model of the type {kind!r}; known: {', '.join(KINDS)}.")
    return cast(Kind, kind)


def _main_files(
    folder: Path, read: Read, digest: str | None
) -> tuple[Kind, dict[str, int], Entries, Path]:
    """Kind, pieces, entries of added tokens, and the file that they are from."""
    path = folder / files.FAST
    if digest is not None:
        if digest not in read.fast:
            read.fast[digest] = _fast(path)
        return (*read.fast[digest], path)
    path = folder / files.VOCAB_JSON
    if path.is_file():
        found = files.json_of(path)
        for token, number in found.items():
            _check_number(token, number, path)
        return ("BPE" if (folder / files.MERGES).is_file() else "WordLevel"), found, {}, path
    path = folder / files.VOCAB_TEXT
    if path.is_file():
        lines = files.text_of(path).split("\n")
        lines = lines[:-1] if lines[-1] == "" else lines
        return "WordPiece", _listed((one.rstrip("\r") for one in lines), path), {}, path
    raise unreadable(folder)


def _fast(path: Path) -> Fast:
    content = files.json_of(path)
    model = content.get("model")
    if not isinstance(model, dict):
        raise WeightsError(f"{path} has no part 'model', so that its tokens cannot be read.")
    tokens = pieces_of(model, path)
    listed = content.get("added_tokens") or []
    if not isinstance(listed, list):
        raise WeightsError(f"{path} has {shown(listed)} under 'added_tokens', not a list.")
    entries: Entries = {}
    for one in listed:
        entry = _entry(one, path)
        _check_same(entry, tokens, entries, path, path)
        entries[entry["content"]] = entry
    _check_given(tokens, entries, path)
    return kind_of_model(model, path), tokens, entries


def _further(
    folder: Path,
    tokens: Mapping[str, int],
    entries: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
    source: Path,
) -> Entries:
    """Entries of added tokens that the main file has not."""
    found: Entries = {}
    path = folder / files.SETTINGS
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise WeightsError(
            f"{path} has {shown(decoder)} under 'added_tokens_decoder', not an object."
        )
    for number, one in decoder.items():
        if not str(number).isdecimal() or not isinstance(one, dict):
            raise WeightsError(f"{path} has no token under 'added_tokens_decoder': {number!r}.")
        entry = _entry({**one, "id": int(number)}, path)
        _check_same(entry, tokens, entries, source, path)
        found[entry["content"]] = entries.get(entry["content"], entry)
    if not entries and not found:
        path = folder / files.ADDED
        for token, number in files.json_if_there(path).items():
            _check_number(token, number, path)
            entry = {"content": token, "id": number, "special": False}
            _check_same(entry, tokens, entries, source, path)
            found[token] = entry
    return found


def _entry(one: object, path: Path) -> dict[str, Any]:
    if not isinstance(one, dict) or not isinstance(one.get("content"), str):
        raise WeightsError(f"{path} has an added token without a text: {shown(one)}.")
    _check_number(one["content"], one.get("id"), path)
    return one


def _check_same(
    entry: Mapping[str, Any],
    tokens: Mapping[str, int],
    entries: Mapping[str, Mapping[str, Any]],
    source: Path,
    path: Path,
) -> None:
    token, number = entry["content"], entry["id"]
    other = tokens.get(token)
    if other is None and token in entries:
        other = entries[token]["id"]
    if other is not None and other != number:
        where = f"{source} and {path}" if source != path else f"{path}"
        raise WeightsError(
            f"The token {token!r} is there twice, with the numbers {other} and {number} ({where});"
            " save the tokenizer again with the program that made it."
        )


def _check_given(
    tokens: Mapping[str, int], entries: Mapping[str, Mapping[str, Any]], path: Path
) -> None:
    """Refuse numbers that the library tokenizers replaces when it reads the file.

    It gives an added token that is no piece the number behind those before it, whatever the file
    says. Where numbers have gaps, a program would read another number than stands there.
    """
    highest: int | None = None
    for token, entry in entries.items():
        number = tokens.get(token)
        if number is None:
            number = len(tokens) if highest is None else max(highest + 1, len(tokens))
        if number != entry["id"]:
            raise WeightsError(
                f"{path} has gaps in its numbers: the added token {token!r} has the number"
                f" {entry['id']}, and the library tokenizers would give it {number}; save the"
                " tokenizer again with the program that made it."
            )
        highest = number if highest is None else max(highest, number)


def _check_number(token: object, number: object, path: Path) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < LIMIT:
        raise WeightsError(
            f"{path} gives the token {token!r} the number {shown(number)}; it must be a whole"
            f" number from 0 to {LIMIT - 1}."
        )


def _check_numbers(tokens: Mapping[str, int], path: Path) -> None:
    if not tokens:
        raise WeightsError(f"{path} holds no tokens; copy it again from where the model is from.")
    if len(set(tokens.values())) == len(tokens):
        return
    seen: dict[int, str] = {}
    for token, number in tokens.items():
        if number in seen:
            raise WeightsError(
                f"{path}: the tokens {seen[number]!r} and {token!r} both have the number {number},"
                " so that they would share a row; save the tokenizer again."
            )
        seen[number] = token


def _listed(tokens: Iterable[object], path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for number, token in enumerate(tokens):
        if not isinstance(token, str):
            raise WeightsError(f"{path}: token {number} is {shown(token)}, not a text.")
        if token in found:
            raise WeightsError(
                f"{path} has the token {token!r} twice, with the numbers {found[token]} and"
                f" {number}; save the tokenizer again with the program that made it."
            )
        found[token] = number
    return found


def _named_special(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """The special tokens that the settings name, such as `bos_token`."""
    found: list[str] = []
    for content in (settings, files.json_if_there(folder / files.SPECIAL)):
        named = [content.get(f"{role}_token") for role in ROLES]
        for key in ("additional_special_tokens", "extra_special_tokens"):
            more = content.get(key) or ()
            more = list(more.values()) if isinstance(more, dict) else more
            named += more if isinstance(more, list) else []
        for one in named:
            text = one.get("content") if isinstance(one, dict) else one
            if isinstance(text, str):
                found.append(text)
    return found


def _rows(folder: Path) -> int | None:
    path = folder / files.CONFIG
    config = files.json_if_there(path)
    for part in (config, config.get("text_config")):
        size = part.get("vocab_size") if isinstance(part, dict) else None
        if isinstance(size, int) and not isinstance(size, bool):
            if not 0 < size <= LIMIT:
                raise WeightsError(f"{path}: 'vocab_size' is {size}, not a number of tokens.")
            return size
    return None
