"""The options that make a document, one for each of its keys and each setting of any method.

Name, type, default and help of an option are those of the key in the document, or of the field in
the dataclass of a matcher or fold. Nothing is written here by hand.
"""

from __future__ import annotations

import dataclasses
import keyword
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from onefold.documents.part import Flag, InputFile
from onefold.documents.problems import Source, part_of
from onefold.documents.reading import parsed
from onefold.documents.settings import NAME, OneOf, described_fields, keys_of
from onefold.errors import RecipeError

Keys = tuple[str, ...]
LIMITS = ("ge", "gt", "le", "lt")


@dataclass(frozen=True)
class Option:
    """One option or argument.

    Attributes:
        name: without dashes.
        keys: where its value goes in the document.
        annotation: the type of the key.
        help: the description, with the default.
        flag: how it is spelled.
        default: of a flag that is given or not; others have none, so that it is known what was
            given.
        required: the document cannot do without the key.
        limits: of a number, as pydantic names them: ge, gt, le, lt.
        family: of an option that names a registered method, the kind of the registry.
        names: the names of such methods, and others that may stand here.
    """

    name: str
    keys: Keys
    annotation: Any
    help: str
    flag: Flag
    default: Any = None
    required: bool = False
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    family: str = ""
    names: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that there are, if they can be listed."""
        kinds = kinds_of(self.annotation)
        if self.names or not all(get_origin(kind) is Literal for kind in kinds):
            return self.names
        return tuple(str(value) for kind in kinds for value in get_args(kind))

    @property
    def is_file(self) -> bool:
        """Whether the option names a file, or files, that must exist."""
        return any(InputFile in (kind, *get_args(kind)[:1]) for kind in kinds_of(self.annotation))

    @property
    def variable(self) -> str:
        """The name as a Python variable, such as "lambda_" of lambda."""
        plain = self.name.replace("-", "_")
        return f"{plain}_" if keyword.iskeyword(plain) else plain

    def value(self, given: Any) -> Any:
        """What was given on the command line, as the document takes it.

        Raises RecipeError if it is malformed.
        """
        if not isinstance(given, str) or typed_by(self.annotation) is not str:
            return given
        kinds = kinds_of(self.annotation)
        if kinds == [Path]:
            return Path(given)
        if any(get_origin(kind) is tuple for kind in kinds):
            return _numbers(given, f"--{self.name}")
        if all(kind in (str, Path, InputFile) or get_origin(kind) is Literal for kind in kinds):
            return given
        try:
            return parsed(given)
        except yaml.YAMLError:
            return given


def options_of(kind: type[BaseModel]) -> list[Option]:
    """The options of all keys of a document; names in it that are taken get their part's before."""
    plain: dict[str, Option] = {}
    settings: list[Option] = []
    for option in _walk(kind, (), Flag(), True):
        if option.flag is _SETTING:
            settings.append(option)
        else:
            plain[option.name] = option
    for option in settings:
        name = option.name if option.name not in plain else f"{option.keys[0]}-{option.name}"
        panel = flag_of(kind.model_fields[option.keys[0]]).panel
        plain[name] = dataclasses.replace(option, name=name, flag=Flag(panel=panel))
    return list(plain.values())


def source_of(what: str, options: list[Option]) -> Source:
    """Where a document that `options` make is from: its errors name the options."""

    def option(keys: tuple[int | str, ...]) -> str:
        names = tuple(key for key in keys if isinstance(key, str))
        while names:
            below = [one for one in options if one.keys[: len(names)] == names]
            # Of the options of a part, that of its main key stands for the part
            main = [(*names, key) for key in ("source", NAME, names[-1])]
            below.sort(key=lambda one: (one.keys != names, one.keys not in main))
            if below:
                flag = below[0].flag
                spelled = (flag.metavar or "").split(" ")[0].rstrip(".")
                return spelled or f"--{below[0].name}"
            names = names[:-1]
        return ""

    return Source(what, option=option)


def options_of_dataclass(kind: type) -> list[Option]:
    """The options of the fields of a dataclass."""
    texts, hints = described_fields(kind), get_type_hints(kind)
    found = []
    for field in dataclasses.fields(kind):
        flag = field.metadata.get("flag", Flag(always=True))
        if not flag.hidden:
            name = field.name.replace("_", "-")
            found.append(Option(name, (field.name,), hints[field.name], texts[field.name], flag))
    return found


def nested(options: list[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the options that were given, as a document."""
    content: dict[str, Any] = {}
    for option in options:
        if (value := given.get(option.variable)) not in (None, []):
            inner = content
            for key in option.keys[:-1]:
                inner = inner.setdefault(key, {})
            inner[option.keys[-1]] = option.value(value)
    return content


def needed(options: list[Option], content: Mapping[str, Any]) -> list[Option]:
    """The options that a document cannot do without, and whose keys `content` lacks."""

    def given(keys: Keys) -> Any:
        inner: Any = content
        for key in keys:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        return inner

    return [option for option in options if option.required and given(option.keys) is None]


_SETTING = Flag(name="setting of a registered dataclass")


def _walk(kind: type[BaseModel], keys: Keys, outer: Flag, needed: bool) -> Iterator[Option]:
    """The options of a document or part. outer: how the part is spelled."""
    for key, field in kind.model_fields.items():
        flag, path = flag_of(field), (*keys, key)
        if flag.hidden:
            continue
        panel = outer.panel if outer.prefix else flag.panel or outer.panel
        one_of = next((entry for entry in field.metadata if isinstance(entry, OneOf)), None)
        inner = part_of(field.annotation)
        if one_of is not None:
            yield from _chosen(one_of, path, field, dataclasses.replace(flag, panel=panel))
        elif inner is not None and inner is not InputFile and not _is_many(field.annotation):
            below = Flag(prefix=outer.prefix + flag.prefix, panel=panel)
            needs = needed and field.is_required()
            for option in _walk(inner, path, below, needs):
                main = option.keys == (*path, "source")
                text = f"{field.description} {option.help}" if main else option.help
                yield dataclasses.replace(option, help=text)
        else:
            stem = key.replace("_", "-") if flag.name is None else flag.name
            yield Option(
                (outer.prefix + stem).rstrip("-"),
                path,
                field.annotation,
                _with_default(field.description or "", field),
                dataclasses.replace(flag, panel=panel),
                field.default if isinstance(field.default, bool) else None,
                flag.needed or (needed and field.is_required()),
                {
                    name: getattr(entry, name)
                    for entry in field.metadata
                    for name in LIMITS
                    if hasattr(entry, name)
                },
            )


def _chosen(one_of: OneOf, keys: Keys, field: FieldInfo, flag: Flag) -> Iterator[Option]:
    """The option that names a registered method, and one for every setting of any of them."""
    names = (*one_of.registry.names(), *one_of.also)
    text = _with_default(f"{field.description} One of: {', '.join(names)}.", field)
    family = one_of.registry.kind
    yield Option(
        keys[-1].replace("_", "-"), (*keys, NAME), str, text, flag, family=family, names=names
    )
    if one_of.other is not None:
        for option in _walk(one_of.other, keys, Flag(panel=flag.panel), False):
            yield dataclasses.replace(option, required=False)
    found: dict[str, list[tuple[str, FieldInfo]]] = {}
    entries = sorted(one_of.registry, key=lambda entry: not _is_built_in(entry.value))
    for entry in entries:
        if isinstance(entry.value, type) and dataclasses.is_dataclass(entry.value):
            for name, key in keys_of(entry.value).model_fields.items():
                found.setdefault(name, []).append((entry.name, key))
    for name, owners in found.items():
        text = next((key.description for _, key in owners if key.description), "")
        told = ", ".join(f"{owner}{_default(key)}" for owner, key in owners)
        annotation = owners[0][1].annotation
        help_ = f"{text} For {told}.".strip()
        either = True if kinds_of(annotation) == [bool] else None
        yield Option(name.replace("_", "-"), (*keys, name), annotation, help_, _SETTING, either)


def _is_built_in(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith("onefold.")


def flag_of(field: FieldInfo) -> Flag:
    """How a key appears on the command line."""
    return next((entry for entry in field.metadata if isinstance(entry, Flag)), Flag())


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required() or value in (None, ()) or isinstance(value, bool | BaseModel):
        return ""
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f" (default {value})"


def _with_default(text: str, field: FieldInfo) -> str:
    default = _default(field)
    return f"{text.removesuffix('.')}{default}." if default else text


def kinds_of(annotation: Any) -> list[Any]:
    """The types of a union without None; the type alone if it is none."""
    if get_origin(annotation) is Annotated:
        return kinds_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in kinds_of(part)]
    return [] if annotation is type(None) else [annotation]


def _is_many(annotation: Any) -> bool:
    return any(get_origin(kind) is tuple for kind in kinds_of(annotation))


def typed_by(annotation: Any) -> Any:
    """The type that a shell's word is: a number, a truth value, texts, or text to be parsed."""
    kinds = kinds_of(annotation)
    if len(kinds) == 1:
        kind = kinds[0]
        if kind in (int, float, bool):
            return kind
        if get_origin(kind) is tuple and get_args(kind)[0] in (str, InputFile):
            return list[str]
    return str


def _numbers(text: str, name: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise RecipeError(
            f"{name} takes numbers separated by commas, as 0.7,0.3, not '{text}'."
        ) from None
