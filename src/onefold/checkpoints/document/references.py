"""Where the models that a document names are: a folder, a file, the local cache, or the network.

A path that exists is taken; it is relative to the working folder, as in mergekit. Else a name such
as "org/name" is looked up in the cache of Hugging Face, and fetched from there only where that was
asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onefold.checkpoints.document.cache import cache_folder, is_name, revisions, snapshot
from onefold.checkpoints.document.configs import check_configs
from onefold.checkpoints.document.content import Document, Reference
from onefold.checkpoints.document.fetching import fetch
from onefold.documents.problems import Keys

SOURCES = ("union", "base")  # of a tokenizer, beside models
NEAR = 0.7  # how alike a misspelt word is
SHOWN = 3  # names of files in a message
LONGEST = 200  # characters of a path in a message


@dataclass(frozen=True)
class Located:
    """A model that was found.

    Attributes:
        path: its folder or file.
        commit: the commit of the snapshot, if it is from the cache; else None.
    """

    path: Path
    commit: str | None = None


def locate(
    document: Document, download: bool = False, results: Mapping[str, Path] | None = None
) -> dict[Reference, Located]:
    """Where all models of a document are, those of tokenizers among them.

    Args:
        document: the document.
        download: fetch models that are in no folder and not in the cache.
        results: the folders of documents that were carried out before, by their names.

    Raises:
        RecipeError: a model is nowhere, or has an adapter, or configs tell that models do not fit
            before their weights are fetched; the message names the line.
        OutputError: a model cannot be stored in the cache.
    """
    found: dict[Reference, Located] = {}
    read = {*document.models(), *document.row_models()}
    _check_spelling(document, results or {}, download)
    if download:
        _check_before(document, results or {})
    for reference, at in document.references():
        if reference in found:
            continue
        made = (results or {}).get(reference.place.path)
        if made is not None and reference.adapter is None:
            found[reference] = Located(made)
        else:
            found[reference] = _locate(document, reference, at, download, reference in read)
    return found


def _check_spelling(document: Document, results: Mapping[str, Path], download: bool) -> None:
    """Refuse names of no model here that are nearly a word, or the name of another document.

    Raises:
        RecipeError: there is one.
    """
    for reference, at in document.references():
        place = reference.place
        known = [] if download else list(results)
        if at in (("tokenizer", "source"), ("tokenizer_source", "source")):
            known += SOURCES
        close = difflib.get_close_matches(place.path.lower(), known, 1, NEAR)
        if not close or place.path in results or _exists(Path(place.path).expanduser()):
            continue
        if not is_name(place.path) or snapshot(place.path, place.revision) is None:
            raise document.error(
                at, f"there is no '{_short(place.path)}'; did you mean '{close[0]}'?"
            )


def _check_before(document: Document, results: Mapping[str, Path]) -> None:
    """Fetch what stands beside the weights, and check it before they are fetched."""
    folders = {
        reference: _locate(document, reference, at, download=True, weights=False).path
        for reference, at in document.references()
        if reference.place.path not in results
    }
    check_configs(document, folders)


def _locate(
    document: Document, reference: Reference, at: Keys, download: bool, weights: bool
) -> Located:
    """Where one model is. weights: they are needed, and not the tokenizer alone."""
    place = reference.place
    if reference.adapter is not None:
        raise document.error(
            at,
            f"'{reference}' adds the adapter '{reference.adapter}', and adapters are not merged"
            " here; add it first, as with merge_and_unload of peft (a path that holds '+' is"
            " written as model: {model: {path: ...}})",
        )
    path = Path(place.path).expanduser()
    if _exists(path):
        if place.revision is not None:
            raise document.error(
                at,
                f"'{place.path}' is a folder here, which has no revision '{place.revision}'; leave"
                " that out, or give the model's name",
            )
        return Located(path)
    if not is_name(place.path):
        raise document.error(at, f"there is no '{_short(place.path)}'; check the path")
    known = snapshot(place.path, place.revision)
    if known is not None and not (known.lacking and weights):
        return Located(known.folder, known.commit)
    if download:
        try:
            folder = fetch(place.path, place.revision, weights)
        except ValueError as error:
            raise document.error(at, f"'{place}' cannot be fetched: {error}") from error
        return Located(folder, folder.name)
    raise document.error(at, _absent(reference, known.lacking if known else ()))


def _absent(reference: Reference, lacking: tuple[str, ...]) -> str:
    place, cache = reference.place, cache_folder()
    cure = "let it be fetched with --download, or give a folder"
    if lacking:
        rest = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        files = ", ".join(lacking[:SHOWN]) + rest
        return f"the cache in {cache} holds only a part of '{place}', without {files}; {cure}"
    others = revisions(place.path)
    if others:
        wanted = place.revision or "main"
        has = ", ".join(others[:SHOWN])
        return f"the cache in {cache} has '{place.path}' as {has}, not as {wanted}; {cure}"
    return f"'{place}' is no folder, and is not in the cache in {cache}; {cure}"


def _short(path: str) -> str:
    return path if len(path) <= LONGEST else f"{path[:LONGEST]}..."


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a null byte
        return False
