"""The parts of a document from plain data: models, slices, modules, and what stands around them.

What is checked here is the form alone. `checks.py` compares the values with the method.
"""

from __future__ import annotations

from typing import Any

from onefold.checkpoints.document.content import (
    WHOLE,
    Document,
    Finish,
    Form,
    Input,
    Module,
    Slice,
    Tokenizer,
)
from onefold.checkpoints.document.findings import Findings
from onefold.checkpoints.document.misplaced import hint_for
from onefold.checkpoints.document.naming import reference_from, source_from, tokenizer_from
from onefold.checkpoints.document.values import parameters_from
from onefold.documents.problems import WIDEST, Keys
from onefold.errors import nearest
from onefold.printable import counted

FORMS: tuple[Form, ...] = ("models", "slices", "modules")
ROOT = (
    "merge_method",
    "base_model",
    *FORMS,
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
    "finish",
    "name",
)
COMPANIONS = {
    "experts": "this is a document of mergekit-moe, which makes mixtures of experts; run that, as"
    " onefold makes none",
    "genome": "this is a document of mergekit-evolve, which searches over merges; run that, or"
    " write one merge with its weights, as onefold does not search",
}  # a key that only documents of mergekit's other programs have -> what to do
NO_METHOD = "it lacks the key 'merge_method'; name the method by it, as merge_method: linear"
DTYPES = ("bfloat16", "float16", "float32", "float64", "int64")
TEMPLATES = ("auto", "alpaca", "chatml", "exaone", "llama3", "mistral")


def document_from(content: object, findings: Findings) -> Document:
    """A document in its form; nothing in it is compared with its method yet.

    Raises:
        RecipeError: it is no such document.
    """
    given = findings.mapping(content, ())
    for key, reason in COMPANIONS.items():
        if key in given and "merge_method" not in given:
            findings.refuse((key,), reason)
    _check_keys(given, ROOT, (), findings)
    if given.get("merge_method") is None:
        findings.refuse((), NO_METHOD)
    forms = [key for key in FORMS if given.get(key)] or [key for key in FORMS if key in given]
    if len(forms) != 1:
        has = " and ".join(repr(form) for form in forms) or "none of them"
        findings.refuse(
            (forms[1],) if forms else (),
            f"a document has exactly one of 'models', 'slices' and 'modules', and this has {has}",
        )
    form = forms[0]
    for key in FORMS:
        if key in given and key != form:
            findings.ignore((key,), f"it is empty; leave it out, as '{form}' is given")
    base = given.get("base_model")
    return Document(
        method=findings.text(given["merge_method"], ("merge_method",)),
        modules=_modules(given[form], form, findings),
        form=form,
        base=None if base is None else reference_from(base, ("base_model",), findings),
        parameters=parameters_from(given.get("parameters"), ("parameters",), findings),
        dtype=_dtype(given, "dtype", findings),
        out_dtype=_dtype(given, "out_dtype", findings),
        tokenizer=_tokenizer(given, findings),
        chat_template=_template(given.get("chat_template"), findings),
        finish=_finish(given.get("finish"), findings),
        name=_name(given.get("name"), findings),
        as_mergekit=findings.as_mergekit,
        source=findings.source,
    )


def _check_keys(given: dict[str, Any], known: tuple[str, ...], at: Keys, found: Findings) -> None:
    for key in given:
        if key not in known:
            found.unknown((*at, key), known, hint_for(key, at, ROOT))


def _modules(content: object, form: Form, findings: Findings) -> tuple[Module, ...]:
    if form == "models":
        return (Module(WHOLE, inputs=_inputs(content, ("models",), findings)),)
    if form == "slices":
        return (Module(WHOLE, slices=_slices(content, ("slices",), findings)),)
    given = findings.mapping(content, ("modules",))
    if not given:
        findings.refuse(("modules",), "it is empty; name modules")
    return tuple(_module(name, part, ("modules", name), findings) for name, part in given.items())


def _module(name: str, content: object, at: Keys, findings: Findings) -> Module:
    given = findings.mapping(content, at)
    _check_keys(given, ("models", "slices", "parameters"), at, findings)
    if bool(given.get("models")) == bool(given.get("slices")):
        findings.refuse(at, "a module has exactly one of 'models' and 'slices'")
    form = "models" if given.get("models") else "slices"
    other = "slices" if form == "models" else "models"
    if other in given:
        findings.ignore((*at, other), f"it is empty; leave it out, as '{form}' is given")
    inner = (*at, form)
    return Module(
        name=name,
        inputs=_inputs(given[form], inner, findings) if form == "models" else (),
        slices=_slices(given[form], inner, findings) if form == "slices" else (),
        parameters=parameters_from(given.get("parameters"), (*at, "parameters"), findings),
        at=at,
    )


def _inputs(content: object, at: Keys, findings: Findings) -> tuple[Input, ...]:
    found = []
    for i, one in enumerate(findings.entries(content, at, "models")):
        here = (*at, i)
        given = _listed(one, ("model", "parameters"), here, findings)
        found.append(
            Input(
                reference_from(given["model"], (*here, "model"), findings),
                parameters_from(given.get("parameters"), (*here, "parameters"), findings),
                at=here,
            )
        )
    return tuple(found)


def _listed(
    content: object, known: tuple[str, ...], at: Keys, findings: Findings
) -> dict[str, Any]:
    if isinstance(content, str):
        findings.refuse(at, "it must hold the key 'model'; write '- model: ...'", content)
    given = findings.mapping(content, at)
    _check_keys(given, known, at, findings)
    if given.get("model") is None:
        findings.missing((*at, "model"))
    return given


def _slices(content: object, at: Keys, findings: Findings) -> tuple[Slice, ...]:
    found = []
    for i, one in enumerate(findings.entries(content, at, "slices")):
        here = (*at, i)
        given = findings.mapping(one, here)
        known = ("sources", "base_model", "parameters")
        _check_keys(
            {k: v for k, v in given.items() if k != "residual_weight"}, known, here, findings
        )
        if given.get("residual_weight") is not None:
            reason = "mergekit takes it and never uses it; leave it out"
            findings.ignore((*here, "residual_weight"), reason, given["residual_weight"])
        if given.get("sources") is None:
            findings.missing((*here, "sources"))
        base = given.get("base_model")
        found.append(
            Slice(
                _sources(given["sources"], (*here, "sources"), findings),
                None if base is None else reference_from(base, (*here, "base_model"), findings),
                parameters_from(given.get("parameters"), (*here, "parameters"), findings),
                at=here,
            )
        )
    return tuple(found)


def _sources(content: object, at: Keys, findings: Findings) -> tuple[Input, ...]:
    found: list[Input] = []
    for i, one in enumerate(findings.entries(content, at, "sources")):
        here = (*at, i)
        given = _listed(one, ("model", "layer_range", "parameters"), here, findings)
        if given.get("layer_range") is None:
            findings.missing((*here, "layer_range"))
        layers = _range(given["layer_range"], (*here, "layer_range"), findings)
        if found and found[0].layers is not None:
            first = found[0].layers[1] - found[0].layers[0]
            if layers[1] - layers[0] != first:
                findings.refuse(
                    (*here, "layer_range"),
                    f"it has {counted(layers[1] - layers[0], 'layer')}, and the first source of"
                    f" this slice has {first}; all sources of a slice have equally many",
                )
        found.append(
            Input(
                reference_from(given["model"], (*here, "model"), findings),
                parameters_from(given.get("parameters"), (*here, "parameters"), findings),
                layers,
                at=here,
            )
        )
    return tuple(found)


def _range(content: object, at: Keys, findings: Findings) -> tuple[int, int]:
    """The first layer and the one after the last; none between them is allowed."""
    whole = isinstance(content, list) and all(
        isinstance(one, int) and not isinstance(one, bool) for one in content
    )
    if not isinstance(content, list) or not whole or len(content) != 2:
        findings.refuse(at, "it must be two whole numbers, [first, behind the last]")
    first, behind = content
    if not 0 <= first <= behind < WIDEST:
        findings.refuse(
            at,
            f"[{str(first)[:20]}, {str(behind)[:20]}] must begin at 0 or later, and not end first",
        )
    return first, behind


def _dtype(given: dict[str, Any], key: str, findings: Findings) -> str | None:
    if given.get(key) is None:
        return None
    name = findings.text(given[key], (key,)).removeprefix("torch.")
    if name not in DTYPES:
        findings.refuse((key,), f"there is no such dtype; {nearest(name, DTYPES)}", given[key])
    return name


def _tokenizer(given: dict[str, Any], findings: Findings) -> Tokenizer | None:
    old, new = given.get("tokenizer_source"), given.get("tokenizer")
    if old is not None and new is not None:
        findings.refuse(
            ("tokenizer_source",), "it is given beside 'tokenizer'; write 'source' into that"
        )
    if isinstance(new, str):
        way = f"for a tokenizer without further keys write tokenizer_source: {new[:60]}"
        findings.refuse(("tokenizer",), f"it must hold keys and values; {way}", new)
    if new is not None:
        return tokenizer_from(new, ("tokenizer",), findings)
    if old is None:
        return None
    return Tokenizer(source_from(old, ("tokenizer_source",), findings), at=("tokenizer_source",))


def _template(content: object, findings: Findings) -> str | None:
    if content is None:
        return None
    text = findings.text(content, ("chat_template",))
    if text not in TEMPLATES and "{" not in text:
        reason = f"it is neither a template in Jinja nor a known name; {nearest(text, TEMPLATES)}"
        findings.refuse(("chat_template",), reason, text)
    return text


def _finish(content: object, findings: Findings) -> Finish | None:
    at: Keys = ("finish",)
    if content is None:
        return None
    if isinstance(content, str):
        return Finish(findings.text(content, at), at=at)
    given = dict(findings.mapping(content, at))
    if given.get("name") is None:
        findings.missing((*at, "name"))
    name = findings.text(given.pop("name"), (*at, "name"))
    for key, value in given.items():
        if not isinstance(value, bool | int | float | str):
            findings.refuse((*at, key), "it must be a number, or true or false", value)
    return Finish(name, given, at)


def _name(content: object, findings: Findings) -> str | None:
    if content is None:
        return None
    name = findings.text(content, ("name",))
    if name in (".", "..") or any(letter in name for letter in "/\\\0@+") or name != name.strip():
        findings.refuse(
            ("name",), "it names a folder of its own: letters without '/', '@' and '+'", name
        )
    return name
