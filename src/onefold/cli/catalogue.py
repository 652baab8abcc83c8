"""What the program knows of its commands and methods without importing them.

The options of a command are those of its document, and the methods are those of the registries.
Both import torch, which takes seconds. `catalogue.jsonl` holds a line for each of them, so that a
mistake is answered and help is shown at once. It is written by

    python -m onefold.cli.catalogue

and a test compares it with what the commands and registries say.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from onefold.cli import DOCUMENTS
from onefold.documents.options import Option, typed_by
from onefold.documents.part import Flag, InputFile
from onefold.registry import FAMILIES, Entry, description

FILE = Path(__file__).with_name("catalogue.jsonl")
PACKAGES = ("symmetry", "alignment", "checkpoints", "fold", "explore", "sources", "measure")
TYPES: dict[str, Any] = {
    "integer": int,
    "number": float,
    "flag": bool,
    "text": str,
    "file": InputFile,
    "files": tuple[InputFile, ...],
    "patterns": tuple[str, ...],
}


@dataclass(frozen=True)
class Known:
    """A command, as far as it is known without its module.

    Attributes:
        name: the command.
        noun: its work in messages.
        text: its help.
        options: in their order in the help.
    """

    name: str
    noun: str
    text: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Catalogue:
    """All commands that make a document, and all methods by the kind of their registry."""

    commands: Mapping[str, Known]
    methods: Mapping[str, list[Entry[object]]]


@functools.cache
def catalogue() -> Catalogue:
    """What the file holds."""
    commands: dict[str, Known] = {}
    options: dict[str, list[Option]] = {}
    methods: dict[str, list[Entry[object]]] = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        held = json.loads(line)
        if kind := held.pop("kind", ""):
            methods.setdefault(kind, []).append(Entry(held["name"], held["text"], held["summary"]))
        elif owner := held.pop("of", ""):
            options[owner].append(_option(held))
        else:
            options[held["name"]] = []
            commands[held["name"]] = Known(held["name"], held["noun"], held["text"], ())
    known = {
        name: Known(one.name, one.noun, one.text, tuple(options[name]))
        for name, one in commands.items()
    }
    return Catalogue(known, methods)


def current() -> str:
    """The text of the file, as the commands and registries say it. Imports all of them."""
    return "".join(f"{json.dumps(held, ensure_ascii=False)}\n" for held in _held())


def _held() -> Iterator[dict[str, Any]]:
    for name in DOCUMENTS:
        command = importlib.import_module(f"onefold.cli.{name}").COMMAND
        yield {"name": name, "noun": command.kind.noun, "text": command.text}
        for option in command.options():
            yield {"of": name, **_plain(option)}
    for package in PACKAGES:
        importlib.import_module(f"onefold.{package}")
    for kind, family in sorted(FAMILIES.items()):
        for entry in family:
            if _is_ours(entry.value):
                text = description(entry)
                yield {"kind": kind, "name": entry.name, "summary": entry.summary, "text": text}


def _is_ours(value: object) -> bool:
    """Whether a registered value is of this package: a test may have registered others."""
    return getattr(value, "__module__", "onefold").split(".")[0] == "onefold"


def _plain(option: Option) -> dict[str, Any]:
    """An option as plain data, without what is usual."""
    found = {
        field.name: getattr(option, field.name)
        for field in fields(option)
        if getattr(option, field.name) not in (None, "", False, (), {})
    }
    usual = asdict(Flag())
    flag = {name: value for name, value in asdict(option.flag).items() if value != usual[name]}
    return {**found, "annotation": _type(option), "flag": flag}


def _type(option: Option) -> str | list[str]:
    """The name of an option's type; a list is that of its choices."""
    if option.choices and not option.names:
        return list(option.choices)
    typed = typed_by(option.annotation)
    if option.is_file:
        return "files" if typed == list[str] else "file"
    if typed == list[str]:
        return "patterns"
    return next(name for name, kind in TYPES.items() if kind == typed)


def _option(held: dict[str, Any]) -> Option:
    """The option of plain data."""
    annotation = held["annotation"]
    kind = Literal[tuple(annotation)] if isinstance(annotation, list) else TYPES[annotation]
    tuples: dict[str, Any] = {name: tuple(held[name]) for name in ("keys", "names") if name in held}
    whole: dict[str, Any] = {**held, **tuples, "annotation": kind, "flag": Flag(**held["flag"])}
    return Option(**whole)


if __name__ == "__main__":
    FILE.write_text(current(), encoding="utf-8")
