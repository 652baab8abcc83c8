"""A document back as YAML: for mergekit where it is valid there, and as onefold's own record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from onefold.checkpoints.document.content import (
    Document,
    Finish,
    Input,
    Module,
    Parameters,
    Place,
    Reference,
    Setting,
    Slice,
    Token,
    Tokenizer,
    TokenOf,
)
from onefold.checkpoints.document.references import Located
from onefold.documents.yaml_text import text_from

MERGEKIT = (
    "arcee_fusion",
    "breadcrumbs",
    "breadcrumbs_ties",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
    "karcher",
    "linear",
    "model_stock",
    "multislerp",
    "nearswap",
    "nuslerp",
    "passthrough",
    "ram",
    "ramplus_tl",
    "sce",
    "slerp",
    "task_arithmetic",
    "ties",
)  # the methods of mergekit 0.1.5
SEPARATOR = "---\n"


def yaml_of(documents: Document | Sequence[Document]) -> str:
    """Documents as YAML, from which `parse_documents` reads equal ones."""
    several = [documents] if isinstance(documents, Document) else documents
    return SEPARATOR.join(text_from(content_of(one)) for one in several)


def mergekit_yaml(document: Document, results: Mapping[str, Path] | None = None) -> str | None:
    """A document as mergekit 0.1.5 reads it, without its name; None: it is not valid there.

    Args:
        document: the document.
        results: the folders that stand for the names of other documents.
    """
    if document.method not in MERGEKIT or document.finish is not None:
        return None
    return yaml_of(replace(with_results(document, results or {}), name=None))


def with_results(document: Document, results: Mapping[str, Path]) -> Document:
    """The document with folders in place of the names of other documents.

    Args:
        document: the document; it stays as it is.
        results: the folders by the names.
    """

    def changed(value: Any) -> Any:
        if isinstance(value, Reference):
            made = results.get(value.place.path)
            return value if made is None else replace(value, place=Place(str(made)))
        if isinstance(value, tuple):
            return tuple(changed(one) for one in value)
        if isinstance(value, dict):
            return {key: changed(one) for key, one in value.items()}
        if isinstance(value, Module | Slice | Input | Tokenizer | Token | TokenOf):
            inner = {field.name: changed(getattr(value, field.name)) for field in fields(value)}
            return replace(value, **inner)
        return value

    parts = ("base", "modules", "tokenizer")
    return replace(document, **{part: changed(getattr(document, part)) for part in parts})


def record_of(document: Document, located: Mapping[Reference, Located]) -> dict[str, Any]:
    """What was merged, for onefold's own record: the document, and where its models were found.

    Args:
        document: the document.
        located: what `references.locate` found.

    Returns:
        Plain data: the key "document" with its content, "models" with the path and the commit of
        each model, "ignored" and "notes" where there are some.
    """
    models = {
        str(reference): {"path": str(found.path)}
        | ({} if found.commit is None else {"commit": found.commit})
        for reference, found in located.items()
    }
    record: dict[str, Any] = {"document": content_of(document), "models": models}
    told = {"ignored": list(document.ignored), "notes": list(document.notes)}
    return record | {key: sentences for key, sentences in told.items() if sentences}


def content_of(document: Document) -> dict[str, Any]:
    """A document as plain data, with the keys of a file; what is left out has its default."""
    keys: dict[str, Any] = {"name": document.name} if document.name else {}
    keys["merge_method"] = document.method
    if document.form == "modules":
        keys["modules"] = {module.name: _module(module) for module in document.modules}
    else:
        keys |= _module(document.modules[0])
    if document.base is not None:
        keys["base_model"] = _reference(document.base)
    keys |= _parameters(document.parameters)
    tokenizer = {} if document.tokenizer is None else _tokenizer(document.tokenizer)
    rest = {
        "dtype": document.dtype,
        "out_dtype": document.out_dtype,
        **tokenizer,
        "chat_template": document.chat_template,
        "finish": _finish(document.finish),
    }
    return keys | {key: value for key, value in rest.items() if value is not None}


def _module(module: Module) -> dict[str, Any]:
    if module.slices:
        keys: dict[str, Any] = {"slices": [_slice(part) for part in module.slices]}
    else:
        keys = {"models": [_input(one) for one in module.inputs]}
    return keys | _parameters(module.parameters)


def _slice(part: Slice) -> dict[str, Any]:
    keys: dict[str, Any] = {"sources": [_input(one) for one in part.inputs]}
    if part.base is not None:
        keys["base_model"] = _reference(part.base)
    return keys | _parameters(part.parameters)


def _input(one: Input) -> dict[str, Any]:
    keys: dict[str, Any] = {"model": _reference(one.model)}
    if one.layers is not None:
        keys["layer_range"] = list(one.layers)
    return keys | _parameters(one.parameters)


def _parameters(parameters: Parameters) -> dict[str, Any]:
    found = {name: _setting(setting) for name, setting in parameters.items()}
    return {"parameters": found} if found else {}


def _setting(setting: Setting) -> Any:
    entries = [{} if entry.filter is None else {"filter": entry.filter} for entry in setting]
    values = [list(e.value) if isinstance(e.value, tuple) else e.value for e in setting]
    if len(setting) == 1 and setting[0].filter is None:
        return values[0]
    return [{**entry, "value": value} for entry, value in zip(entries, values, strict=True)]


def _reference(reference: Reference) -> Any:
    """A text, unless a path holds what separates its parts."""
    places = [reference.place, *([reference.adapter] if reference.adapter else [])]
    plain = all(
        letter not in (place.path + (place.revision or "")) for place in places for letter in "@+"
    )
    if plain and reference.architecture is None:
        return str(reference)
    keys: dict[str, Any] = {"model": _place(reference.place)}
    if reference.adapter is not None:
        keys["lora"] = _place(reference.adapter)
    if reference.architecture is not None:
        keys["override_architecture"] = reference.architecture
    return keys


def _place(place: Place) -> dict[str, str]:
    keys = {"path": place.path}
    return keys if place.revision is None else {**keys, "revision": place.revision}


def _tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    source = tokenizer.source
    named = _reference(source) if isinstance(source, Reference) else source
    if not tokenizer.tokens and tokenizer.pad_to_multiple_of is None:
        return {"tokenizer_source": named}
    keys: dict[str, Any] = {"source": named}
    if tokenizer.tokens:
        keys["tokens"] = {name: _token(token) for name, token in tokenizer.tokens.items()}
    if tokenizer.pad_to_multiple_of is not None:
        keys["pad_to_multiple_of"] = tokenizer.pad_to_multiple_of
    return {"tokenizer": keys}


def _finish(finish: Finish | None) -> Any:
    if finish is None or not finish.settings:
        return None if finish is None else finish.name
    return {"name": finish.name, **finish.settings}


def _token(token: Token) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if isinstance(token.source, TokenOf):
        named = {"token": token.source.token, "token_id": token.source.token_id}
        given = {key: value for key, value in named.items() if value is not None}
        keys["source"] = {"kind": "model_token", "model": _reference(token.source.model), **given}
    elif token.source == "zero":
        keys["source"] = {"kind": "zero"}
    elif token.source is not None:
        keys["source"] = _reference(token.source)
    return {**keys, "force": True} if token.force else keys
