"""A document made of flags, for the common case: a list of models and one method.

    onefold merge A B --method ties --base BASE --density 0.5 --weight 1 --weight 0.5

A parameter that each model has may be given once for all models, or once for each of them in
their order. "0,0.5,1" is a gradient over the layers. What is made goes through the same checks as a
file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onefold.checkpoints.document.content import Document
from onefold.checkpoints.document.findings import Findings
from onefold.checkpoints.document.methods import method_class
from onefold.checkpoints.document.reading import checked_document
from onefold.checkpoints.document.scalars import TRUTHS
from onefold.checkpoints.methods.base import Method
from onefold.checkpoints.methods.parameters import Parameter, settings_of
from onefold.documents.problems import Keys, Source
from onefold.errors import RecipeError, SettingError, nearest, shown
from onefold.printable import counted

Scalars = float | bool | str
TOP = {
    "dtype": "--dtype",
    "out_dtype": "--out-dtype",
    "base_model": "--base",
    "merge_method": "--method",
    "tokenizer_source": "--tokenizer",
    "chat_template": "--chat-template",
    "finish": "--finish",
    "models": "the models",
}


def document_of(
    members: Sequence[str | os.PathLike[str]],
    method: str,
    base: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Scalars | Sequence[Scalars]] | None = None,
    *,
    dtype: str | None = None,
    out_dtype: str | None = None,
    tokenizer: str | None = None,
    chat_template: str | None = None,
    finish: str | None = None,
) -> Document:
    """The document that flags stand for.

    Where the method needs a weight of each model and none is given, it is 1. A method of exactly
    two models with a base, such as slerp, takes the first model for the base if none is given.
    Both are told in `Document.notes`.

    Args:
        members: paths or names of the models, as in a document; a path that exists is taken as it
            is, with any "+" and "@" in it.
        method: the name of the method.
        base: the path or name of the base; None: none.
        settings: the values of parameters by their names in documents, as numbers or as texts; a
            sequence holds one value for each model.
        dtype: the dtype that inputs are cast to.
        out_dtype: the dtype that is written.
        tokenizer: "union", "base" or a model.
        chat_template: "auto", a known name or a template.
        finish: what is done with merged tensors behind the method, such as "svc".

    Raises:
        SettingError: `members` is no list.
        RecipeError: something is wrong; the message names the flag.
    """
    if isinstance(members, str | os.PathLike) or not isinstance(members, Sequence):
        name = os.fspath(members) if isinstance(members, str | os.PathLike) else None
        example = f"[{shown(name)}]" if name else "['model_a', 'model_b']"
        raise SettingError(
            f"document_of takes `members` as a list of paths or names, not {shown(members)}; write"
            f" {example}."
        )
    source = Source("onefold merge", option=option)
    findings = Findings(source, trust=True)  # the user named the method
    try:
        kind = method_class(method)
    except SettingError as error:
        findings.refuse(("merge_method",), str(error))
    if not members:
        findings.refuse(("models",), f"{method} needs models; name their folders")
    given = [_reference(member) for member in members]
    names, notes = {name: _value(one) for name, one in (settings or {}).items()}, []
    if base is None and kind.needs_base and kind.most == 1 and len(given) == 2:
        base = members[0]
        notes.append(f"The base is {os.fspath(base)}, the first model; another is given by --base.")
    weight = next((one for one in kind.per_model if one.name == "weight"), None)
    if weight is not None and weight.required and "weight" not in names:
        names["weight"] = 1.0
        notes.append("The weight of every model is 1; others are given by --weight.")
    _check_base_is_listed(names, method, kind, base, given, findings)
    merged = len([one for one in given if base is None or one != _reference(base)])
    count = len(given) if kind.takes_base_as_model else merged
    shared, own = _split(names, method, kind, count, findings)
    notes += [
        f"The values of --{name.replace('_', '-')} run from the first layer to the last, in every"
        " model; one value for each model is given by repeating the option."
        for name, value in shared.items()
        if isinstance(value, list) and len(value) > 1
    ]
    models, i = [], 0
    for one in given:
        entry: dict[str, Any] = {"model": one}
        if kind.takes_base_as_model or base is None or one != _reference(base):
            entry["parameters"] = {name: values[i] for name, values in own.items()}
            i += 1
        models.append(entry)
    content = {
        "merge_method": method,
        "models": models,
        "base_model": None if base is None else _reference(base),
        "parameters": shared,
        "dtype": dtype,
        "out_dtype": out_dtype,
        "tokenizer_source": tokenizer,
        "chat_template": chat_template,
        "finish": finish,
    }
    document = checked_document(content, findings)
    return replace(document, notes=(*document.notes, *notes))


def _check_base_is_listed(
    values: Mapping[str, Any],
    method: str,
    kind: type[Method],
    base: str | os.PathLike[str] | None,
    given: Sequence[Any],
    findings: Findings,
) -> None:
    """Refuse values one by one where a base is one more model without one.

    Raises:
        RecipeError: so it is.
    """
    if base is None or not kind.takes_base_as_model or _reference(base) in given:
        return
    for name, value in values.items():
        if isinstance(value, tuple) and len(value) > 1:
            findings.refuse(
                ("parameters", name),
                f"{method} compares with no base, so that {os.fspath(base)} is one more model and"
                f" needs a value too; leave --base out, or list {os.fspath(base)} among the models"
                " and give one value for each in their order",
            )


def option(keys: Keys) -> str:
    """The flag that makes a key of a document; "" if none does."""
    if "parameters" in keys:
        name = keys[keys.index("parameters") + 1 :][:1]
        return f"--{str(name[0]).replace('_', '-')}" if name else ""
    return TOP.get(str(keys[0]), "") if keys else ""


def _reference(named: str | os.PathLike[str]) -> Any:
    text = os.fspath(named)
    try:
        literal = Path(text).expanduser().exists()
    except (OSError, ValueError):
        literal = False
    return {"model": {"path": text}} if literal else text


def _value(given: Scalars | Sequence[Scalars]) -> Any:
    """A value for all models, of which a list is a gradient; a tuple has one for each model."""
    if isinstance(given, str):
        points = [_scalar(text.strip()) for text in given.split(",")]
        return points if len(points) > 1 else points[0]
    return given if isinstance(given, bool | int | float) else tuple(_value(one) for one in given)


def _scalar(text: str) -> Scalars:
    if text.lower() in TRUTHS:
        return TRUTHS[text.lower()]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _split(
    settings: Mapping[str, Any], method: str, kind: type[Method], count: int, findings: Findings
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The values for the whole merge, and those for each model."""
    own_kinds = {one.name: one for one in kind.per_model}
    known: dict[str, Parameter] = {one.name: one for one in settings_of(kind)} | own_kinds
    shared: dict[str, Any] = {}
    own: dict[str, list[Any]] = {}
    for name, value in settings.items():
        flag = option(("parameters", name))
        if name not in known:
            near = nearest(name, known, f"it has {', '.join(sorted(known)) or 'none'}.")
            raise RecipeError(f"onefold merge takes no {flag} for {method}; {near}")
        if not isinstance(value, tuple):
            shared[name] = value
        elif len(value) == 1:
            shared[name] = value[0]
        elif name not in own_kinds:
            findings.refuse(
                ("parameters", name), "it is one value for the whole merge; give it once"
            )
        elif len(value) != count:
            findings.refuse(
                ("parameters", name),
                f"it is given {len(value)} times for {counted(count, 'model')}; give it once, or"
                " once for each model in their order",
            )
        else:
            own[name] = list(value)
    return shared, own
