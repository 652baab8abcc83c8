"""One sentence for whatever is wrong with a document, that names the key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from onefold.errors import RecipeError, nearest

MISSING = object()
Keys = tuple[int | str, ...]


@dataclass
class WrongKey(ValueError):  # noqa: N818
    """What is wrong with one key.

    Attributes:
        keys: where it is, from the document or part that was checked.
        reason: what is wrong, as the end of a sentence.
        found: the value; MISSING: not told.
        whole: the reason is about the key and not about its value, and names it as `{key}`.
    """

    keys: Keys
    reason: str
    found: object = MISSING
    whole: bool = False

    def __str__(self) -> str:
        return self.reason

    def inside(self, keys: Keys) -> WrongKey:
        """The same, seen from a document that has the part at `keys`."""
        return WrongKey((*keys, *self.keys), self.reason, self.found, self.whole)

    def told(self, what: str) -> RecipeError:
        """The error whose sentence begins with `what` was checked."""
        key = ".".join(map(str, self.keys))
        if self.whole:
            return RecipeError(f"{what} {self.reason.replace('{key}', key)}")
        where = f", key {key!r}" if key else ""
        tail = f" (found: {self.found!r})" if key and _is_plain(self.found) else ""
        end = "" if self.reason.endswith("?") and not tail else "."
        return RecipeError(f"{what}{where}: {self.reason.rstrip('.')}{tail}{end}")


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
        near = nearest(str(keys[-1]), _known(kind, keys[:-1]))
        return WrongKey(keys, f"has an unknown key '{{key}}'; {near}", whole=True)
    if first["type"] == "missing":
        return WrongKey(keys, "lacks the key '{key}'; add it.", whole=True)
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
    return text[:1].lower() + text[1:].rstrip(".")


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


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
