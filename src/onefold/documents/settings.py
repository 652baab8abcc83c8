"""Settings on frozen dataclasses as parts of a document.

A matcher or a fold is registered as a dataclass whose fields are its settings. A document nests it
as `{name: cca, regularization: 0.1}`, or as `cca` alone: the keys beside `name` are the fields of
the dataclass, checked against its types, and whatever its `__post_init__` refuses is refused. In
memory the key holds the dataclass itself, so a method of a user's own needs no further code.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, ValidationError, create_model
from pydantic_core import CoreSchema, core_schema

from onefold.documents.part import Part
from onefold.documents.problems import LONGEST, WrongKey, problem_of
from onefold.errors import OnefoldError, nearest
from onefold.registry import Registry

NAME = "name"


class _Settings(Part):
    """The fields of a dataclass as keys; its own checks decide about infinite numbers."""

    model_config = ConfigDict(allow_inf_nan=True)


@functools.cache
def keys_of(kind: type) -> type[Part]:
    """The fields of a dataclass as a part of a document, described as its docstring does."""
    hints, texts = get_type_hints(kind), described_fields(kind)
    keys: dict[str, Any] = {
        field.name: (hints[field.name], _default_of(field, description=texts.get(field.name, "")))
        for field in dataclasses.fields(kind)
        if field.init
    }
    return create_model(kind.__name__, __base__=_Settings, **keys)


def _default_of(field: dataclasses.Field[Any], description: str) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory, description=description)
    if field.default is not dataclasses.MISSING:
        return Field(default=field.default, description=description)
    return Field(description=description)


@functools.cache
def described_fields(kind: type) -> dict[str, str]:
    """Field -> its text under `Attributes:` or `Args:` in the docstring, base classes included."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        lines = inspect.cleandoc(base.__dict__.get("__doc__") or "").split("\n")
        name, inside = None, False
        for line in lines:
            if line.strip() and not line.startswith(" "):
                inside = line.strip() in ("Attributes:", "Args:")
            elif inside and (match := re.match(r"    (\w+)(?: \([^)]*\))?: (.*)", line)):
                name = match[1]
                texts[name] = match[2].strip()
            elif inside and name and line.strip():
                texts[name] += " " + line.strip()
    return {name: text[:1].upper() + text[1:] for name, text in texts.items()}


@dataclass(frozen=True)
class OneOf:
    """The annotation of a key that holds one entry of a registry, by name or with settings.

    Attributes:
        registry: the entries; those that are no dataclasses take no settings.
        also: further names that stand for themselves.
        other: a part that may stand here instead, if one of its keys is given.
        optional: null is a value, too.
    """

    registry: Registry[Any]
    also: tuple[str, ...] = ()
    other: type[Part] | None = None
    optional: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Pydantic's hook: how the key is checked, and how it is written."""
        write = core_schema.plain_serializer_function_ser_schema(self.plain)
        return core_schema.no_info_plain_validator_function(self.check, serialization=write)

    def check(self, value: Any) -> Any:
        """The dataclass, the name or the other part that `value` means. Raises WrongKey."""
        if value is None and self.optional:
            return None
        if isinstance(value, str):
            value = {NAME: value}
        if self.other is not None:
            if isinstance(value, self.other):
                return value
            if isinstance(value, Mapping) and set(value) & set(self.other.model_fields):
                stands = next(iter(self.other.model_fields))
                if NAME in value:
                    reason = f"it cannot stand beside {{.{stands}}}; leave one of them out"
                    raise WrongKey((NAME,), reason)
                return _made(self.other, self.other, value)
        if not isinstance(value, Mapping):
            if any(entry.value is type(value) for entry in self.registry):
                return value
            raise WrongKey((), "it takes a name, or a name with its settings", value)
        return self._chosen(dict(value))

    def _chosen(self, content: dict[str, Any]) -> Any:
        name = content.pop(NAME, None)
        if name is None and (owners := self._having(next(iter(content), ""))):
            reason = f"it is a setting of {' or '.join(owners)}; give {{.{NAME}}} too"
            raise WrongKey((next(iter(content)),), reason)
        if not isinstance(name, str):
            known = ", ".join([*self.registry.names(), *self.also])
            raise WrongKey((NAME,), f"it needs the name of a {self.registry.kind}: {known}", name)
        if name not in self.registry and name not in self.also:
            near = nearest(name, [*self.registry.names(), *self.also])
            raise WrongKey((), f"there is no {self.registry.kind} named {name[:LONGEST]!r}; {near}")
        kind = self.registry.get(name) if name in self.registry else None
        made = isinstance(kind, type) and dataclasses.is_dataclass(kind)
        self._check_settings(name, keys_of(kind).model_fields if made else (), content)
        if isinstance(kind, type) and made:
            return _made(kind, keys_of(kind), content, f"{self.registry.kind} '{name}'")
        return name

    def _check_settings(self, name: str, own: Collection[str], content: Mapping[str, Any]) -> None:
        """Raises WrongKey for a setting of another entry, or of an entry that has none."""
        for key in content:
            having = self._having(key)
            if key not in own and (having or not own):
                tail = f"use {' or '.join(having)}, or leave it out" if having else "leave it out"
                kind, setting = self.registry.kind, repr(str(key)[:LONGEST])[1:-1]
                raise WrongKey((key,), f"the {kind} '{name}' takes no {setting}; {tail}")

    def _having(self, key: object) -> list[str]:
        """The entries that have a setting of that name."""
        return [
            entry.name
            for entry in self.registry
            if dataclasses.is_dataclass(entry.value)
            and key in {field.name for field in dataclasses.fields(entry.value)}
        ]

    def plain(self, value: Any) -> Any:
        """The key as plain data: a name alone where there are no settings."""
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, Part):
            return value.model_dump(mode="json")
        content = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        name = self.name_of(value)
        kind: Any = type(value)
        written = keys_of(kind).model_construct(**content).model_dump(mode="json")
        return {NAME: name, **written} if written else name

    def name_of(self, value: Any) -> str:
        """The name of a dataclass that the key holds; of a name itself."""
        if isinstance(value, str):
            return value
        names = [entry.name for entry in self.registry if entry.value is type(value)]
        return names[0] if names else type(value).__name__


def _made(kind: type, keys: type[Part], content: Mapping[str, Any], what: str = "part") -> Any:
    """The dataclass or part of checked keys. Raises WrongKey with the key inside the part."""
    try:
        checked = keys.model_validate(content)
        if kind is keys:
            return checked
        return kind(**{name: getattr(checked, name) for name in checked.model_fields_set})
    except ValidationError as error:
        raise problem_of(error, keys) from None
    except (OnefoldError, ValueError, TypeError) as error:
        refused, text = "", str(error)
        named = [name for name in content if re.search(rf"\b{re.escape(str(name))}\b", text)]
        where: tuple[str, ...] = (named[0],) if len(named) == 1 else ()
        refused = f"the {what} refuses its settings: {text}"
        raise WrongKey(where, refused) from None
