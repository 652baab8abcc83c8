"""One sentence for whatever is wrong with a document, that names the key, its line or its option.

Reasons are written once. A key in braces in them, as `{data.samples}`, is told as the key in a
recipe, and as the option where options make the document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from pydantic import BaseModel, ValidationError

from onefold.errors import RecipeError, nearest
from onefold.printable import printable

MISSING = object()
BETTER = {  # what pydantic says of a value -> what is said here
    "Input should be a valid integer": "it must be a whole number",
    "Input should be a valid number": "it must be a number",
    "Input should be a valid string": "it must be a text",
    "Input should be a valid boolean": "it must be true or false",
    "Input should be a valid tuple": "it must be a list",
    "Input should": "it must",
}
_at_hand: ContextVar[Source | None] = ContextVar("source", default=None)
LONGEST = 60  # characters of a value that are shown
WIDEST = 2**63  # whole numbers are smaller, as those of torch are
MENTION = re.compile(r"\{(\.?[a-z][a-z_.]*)\}")  # {.file}: beside the key that is wrong
Keys = tuple[int | str, ...]


@dataclass
class WrongKey(ValueError):  # noqa: N818
    """What is wrong with one key.

    Attributes:
        keys: where it is, from the document or part that was checked.
        reason: what is wrong, as the end of a sentence; {key} is told as `Source` says.
        found: the value; MISSING: not told.
        fault: whether the value is wrong, or the key itself is unknown or missing.
    """

    keys: Keys
    reason: str
    found: object = MISSING
    fault: Literal["value", "unknown", "missing"] = "value"

    def __str__(self) -> str:
        return self.reason

    def inside(self, keys: Keys) -> WrongKey:
        """The same, seen from a document that has the part at `keys`."""
        return replace(self, keys=(*keys, *self.keys))


def key_name(keys: Keys) -> str:
    """A key as it is called in a recipe, as "data.samples"."""
    return ".".join(map(str, keys))


def told(key: str) -> str:
    """A key in a message while a document is carried out: the option, if options made it."""
    source = _at_hand.get()
    option = source.option(tuple(key.split("."))) if source and source.option else ""
    return option or f"'{key}'"


@contextmanager
def at_hand(source: Source) -> Iterator[None]:
    """A context in which messages name the keys of a document as `source` does."""
    before = _at_hand.set(source)
    try:
        yield
    finally:
        _at_hand.reset(before)


@dataclass(frozen=True)
class Source:
    """Where a document is from, for its errors.

    Attributes:
        what: the beginning of the sentences.
        lines: of a file, the line of each key.
        option: the option that makes a key, or "" if none does; None: it is from a file.
    """

    what: str
    lines: Mapping[Keys, int] = field(default_factory=dict)
    option: Callable[[Keys], str] | None = None

    def error(self, wrong: WrongKey) -> RecipeError:
        """The sentence on one wrong key."""
        keys = wrong.keys

        def mentioned(match: re.Match[str]) -> str:
            named = _mention(match[1], keys)
            return (self.option(named) if self.option else "") or key_name(named)

        reason = MENTION.sub(mentioned, wrong.reason)
        if wrong.fault != "value":
            return RecipeError(self._of_key(wrong, reason))
        name, tail = self._name(wrong.keys), ""
        if name and _is_plain(wrong.found):
            tail = f" (found: {_short(wrong.found)})"
        where = f", {name}" if name else ""
        end = "" if reason.endswith("?") and not tail else "."
        about = [wrong.keys, *(_mention(text, keys) for text in MENTION.findall(wrong.reason))]
        at = next((keys for keys in about if keys and keys[:1] in self.lines), ())
        return RecipeError(f"{self._at(at)}{where}: {reason.rstrip('.')}{tail}{end}")

    def _of_key(self, wrong: WrongKey, reason: str) -> str:
        known, option = key_name(wrong.keys), self.option and self.option(wrong.keys)
        if wrong.fault == "missing":
            return (
                f"{self.what} needs {option}."
                if option
                else f"{self._at(wrong.keys[:-1], ',')} lacks the key '{known}'; add it."
            )
        if option:
            return f"{self.what} takes no {option} beside its other options; leave it out."
        return f"{self._at(wrong.keys, ',')} has an unknown key {known[:LONGEST]!r}; {reason}"

    def _at(self, keys: Keys, then: str = "") -> str:
        """The beginning of the sentence, with the line of the nearest key that has one."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return f"{self.what}, line {self.lines[keys]}{then}" if keys else self.what

    def _name(self, keys: Keys) -> str:
        if self.option is not None and keys:
            return self.option(keys)
        return f"key {key_name(keys)!r}" if keys else ""


def _mention(text: str, keys: Keys) -> Keys:
    """The keys that a reason about `keys` names."""
    named: Keys = tuple(text.lstrip(".").split("."))
    return (*keys[:-1], *named) if text.startswith(".") else named


def problem_of(error: ValidationError, kind: type[BaseModel]) -> WrongKey:
    """The first thing that is wrong; a misspelt key comes first, as it explains a missing one."""
    problems = error.errors()
    first = min(problems, key=lambda one: one["type"] != "extra_forbidden")
    keys = _keys(first["loc"], kind)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, WrongKey):
        return cause.inside(keys)
    if first["type"] == "extra_forbidden":
        keys = (*_keys(first["loc"][:-1], kind), first["loc"][-1])
        near = nearest(str(keys[-1])[:LONGEST], _known(kind, keys[:-1]))
        return WrongKey(keys, near, fault="unknown")
    if first["type"] == "missing":
        return WrongKey(keys, "", fault="missing")
    reasons = [_reason(one) for one in problems if _keys(one["loc"], kind) == keys]
    return WrongKey(keys, " or ".join(dict.fromkeys(reasons)), first["input"])


def _reason(problem: Any) -> str:
    least = problem.get("ctx", {}).get("min_length")
    plain = {
        "model_type": "it must hold keys and values",
        "model_attributes_type": "it must hold keys and values",
        "too_short": f"it needs at least {least} entries",
    }
    text = plain.get(problem["type"], str(problem["msg"])).removeprefix("Value error, ")
    for form, better in BETTER.items():
        text = text.replace(form, better)
    return text[:1].lower() + text[1:].rstrip(".")


def check_values(content: Mapping[str, Any]) -> None:
    """Refuse what no document can hold as a value, or as an entry of a list.

    Raises:
        WrongKey: a whole number is beyond 64 bits, or a text holds bytes that are no UTF-8, as the
            names of files may.
    """
    for key, value in content.items():
        for entry in value if isinstance(value, list | tuple) else (value,):
            if isinstance(entry, int) and abs(entry) >= WIDEST:
                raise WrongKey((key,), "the number is too large")
            if isinstance(entry, str) and any("\ud800" <= c <= "\udfff" for c in entry):
                raise WrongKey(
                    (key,),
                    f"'{printable(entry)}' is no text in UTF-8, which recipes and reports are"
                    " written in; rename the file, or give a link of another name",
                )


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) >= WIDEST:
        return "a number beyond 64 bits"
    text = repr(value[: LONGEST + 1] if isinstance(value, str) else value)
    return text if len(text) <= LONGEST + 2 else f"{text[:LONGEST]}..."


def _keys(location: Keys, kind: type[BaseModel]) -> Keys:
    """The keys of a place, without the names that pydantic gives the members of a union."""
    keys: list[int | str] = []
    inner: type[BaseModel] | None = kind
    for part in location:
        if isinstance(part, int):
            keys.append(part)
        elif inner is not None and part in inner.model_fields:
            keys.append(part)
            inner = part_of(inner.model_fields[part].annotation)
    return tuple(keys)


def _known(kind: type[BaseModel], keys: Keys) -> list[str]:
    """The keys that there are at a place in the document."""
    for key in keys:
        if isinstance(key, str):
            kind = part_of(kind.model_fields[key].annotation) or kind
    return list(kind.model_fields)


def part_of(annotation: Any) -> type[BaseModel] | None:
    """The part in an annotation such as `DataPart | None` or `tuple[InputFile, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := part_of(one))), None)
