"""References to models and tokenizers as a document writes them.

A model is a text, `path`, `path@revision`, `path+adapter` or `path@revision+adapter@revision`, or
keys and values: {model: {path, revision}, lora: {path, revision}, override_architecture}. In the
second form a path may hold "+" and "@". Nothing is looked up here.
"""

from __future__ import annotations

from typing import Literal

from onefold.checkpoints.document.content import Place, Reference, Token, Tokenizer, TokenOf
from onefold.checkpoints.document.findings import Findings
from onefold.documents.problems import WIDEST, Keys

REFERENCE = ("model", "lora", "override_architecture")
TOKENIZER = ("source", "tokens", "pad_to_multiple_of")
LITERAL = "where a path holds '{}', write model: {{model: {{path: ...}}}}"


def reference_from(content: object, at: Keys, findings: Findings) -> Reference:
    """The model that a document names.

    Raises:
        RecipeError: it names none.
    """
    if isinstance(content, dict):
        return _long(content, at, findings)
    if not isinstance(content, str):
        findings.refuse(at, "it must be a path or the name of a model", content)
    parts = findings.text(content, at).split("+")
    if len(parts) > 2:
        reason = f"it holds more than one '+', which adds an adapter; {LITERAL.format('+')}"
        findings.refuse(at, reason, content)
    places = [_place(part, at, findings, content) for part in parts]
    return Reference(places[0], places[1] if len(places) == 2 else None)


def _long(content: dict[str, object], at: Keys, findings: Findings) -> Reference:
    for key in content:
        if key not in REFERENCE:
            hint = "write it inside of 'model'" if key in ("path", "revision") else ""
            findings.unknown((*at, key), REFERENCE, hint)
    if content.get("model") is None:
        findings.missing((*at, "model"))
    place = _place(content["model"], (*at, "model"), findings)
    lora, architecture = content.get("lora"), content.get("override_architecture")
    adapter = None if lora is None else _place(lora, (*at, "lora"), findings)
    if architecture is not None:
        architecture = findings.text(architecture, (*at, "override_architecture"))
    return Reference(place, adapter, architecture)


def _place(content: object, at: Keys, findings: Findings, whole: object = None) -> Place:
    if isinstance(content, dict):
        for key in content:
            if key not in ("path", "revision"):
                findings.unknown((*at, key), ("path", "revision"))
        if content.get("path") is None:
            findings.missing((*at, "path"))
        path, revision = findings.text(content["path"], (*at, "path")), content.get("revision")
        if revision is not None:
            revision = findings.text(revision, (*at, "revision"))
        return Place(path, revision)
    text = findings.text(content, at)
    path, *rest = text.split("@")
    if len(rest) > 1:
        reason = f"it holds more than one '@', which names a revision; {LITERAL.format('@')}"
        findings.refuse(at, reason, whole or text)
    if not path.strip() or rest == [""]:
        findings.refuse(at, "it lacks a path or a revision; write path@revision", whole or text)
    return Place(path, rest[0] if rest else None)


def source_from(
    content: object, at: Keys, findings: Findings
) -> Reference | Literal["union", "base"]:
    """Where a tokenizer is from: "union", "base" or a model.

    Raises:
        RecipeError: it is none of them.
    """
    if content == "union" or content == "base":
        return content
    return reference_from(content, at, findings)


def tokenizer_from(content: object, at: Keys, findings: Findings) -> Tokenizer:
    """The part `tokenizer` of a document.

    Raises:
        RecipeError: it is no such part.
    """
    given = findings.mapping(content, at)
    for key in given:
        if key not in TOKENIZER:
            findings.unknown((*at, key), TOKENIZER)
    source = given.get("source")
    tokens = findings.mapping(given.get("tokens") or {}, (*at, "tokens"))
    multiple = given.get("pad_to_multiple_of")
    if multiple is not None:
        _check_whole(multiple, 1, (*at, "pad_to_multiple_of"), findings)
    return Tokenizer(
        source="union" if source is None else source_from(source, (*at, "source"), findings),
        tokens={name: _token(one, (*at, "tokens", name), findings) for name, one in tokens.items()},
        pad_to_multiple_of=multiple,
        at=at,
    )


def _token(content: object, at: Keys, findings: Findings) -> Token:
    given = findings.mapping(content, at)
    for key in given:
        if key not in ("source", "force"):
            findings.unknown((*at, key), ("source", "force"))
    source, force = given.get("source"), given.get("force", False)
    if not isinstance(force, bool):
        findings.refuse((*at, "force"), "it must be true or false", force)
    inner = (*at, "source")
    if isinstance(source, dict) and "kind" in source:
        return Token(_kind(source, inner, findings), force, at)
    return Token(None if source is None else reference_from(source, inner, findings), force, at)


def _kind(given: dict[str, object], at: Keys, findings: Findings) -> TokenOf | Literal["zero"]:
    kind = given["kind"]
    if kind not in ("zero", "model_token"):
        findings.refuse((*at, "kind"), "it must be 'zero' or 'model_token'", kind)
    known = ("kind",) if kind == "zero" else ("kind", "model", "token", "token_id")
    for key in given:
        if key not in known:
            findings.unknown((*at, key), known)
    if kind == "zero":
        return "zero"
    if given.get("model") is None:
        findings.missing((*at, "model"))
    model = reference_from(given["model"], (*at, "model"), findings)
    token, number = given.get("token"), given.get("token_id")
    if (token is None) == (number is None):
        findings.refuse(at, "it needs either 'token' or 'token_id'")
    if number is not None:
        _check_whole(number, 0, (*at, "token_id"), findings)
        return TokenOf(model, token_id=number)  # type: ignore[arg-type]
    if not isinstance(token, str):
        findings.refuse((*at, "token"), "it must be a text", token)
    return TokenOf(model, token=token)


def _check_whole(value: object, least: int, at: Keys, findings: Findings) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < WIDEST:
        findings.refuse(at, f"it must be a whole number from {least} on", value)
