"""The grammar of a source's name: `kind:place?option=value&option=value`.

Models and data share it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_plus

from onefold.errors import SettingError, nearest
from onefold.registry import Registry
from onefold.sources.suggestions import function_in, meant

# sources whose name is followed by a path
FOLDER_SOURCES = ("parquet", "idx", "imagefolder", "hf", "numpy", "masks", "csv", "text", "hfdata")
TOKENIZED = ("text", "hfdata")  # those of which the option `tokenizer` is a path too
PYTHON_FILE = re.compile(r"(?P<file>.+\.py):(?P<factory>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class Name:
    """The parts of a source's name.

    Attributes:
        text: the name as it was given.
        key: the name of the registry's entry.
        place: the part after the colon, or "".
        options: the options by name.
    """

    text: str
    key: str
    place: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The place as a path, `~` expanded."""
        return Path(self.place).expanduser()


def parse(text: str, registry: Registry[Any], options: Mapping[str, Any]) -> Name:
    """Take the name of a source apart.

    An entry of a registry whose name ends with a colon ("timm:") takes the text after it as its
    place. "file.py:" takes any `*.py:factory`.

    Args:
        text: the name.
        registry: the known entries.
        options: further options; they win over those in the name.

    Raises:
        SettingError: no entry of `registry` fits (with the nearest known name), the place is empty,
            or an option is malformed.
    """
    if not isinstance(text, str) or not text.strip():
        raise SettingError(
            f"A {registry.kind} is named by a non-empty text, not by {text!r}; known:"
            f" {', '.join(registry.names())}."
        )
    bare, _, query = text.strip().partition("?")
    merged = {**_query(query, text), **options}
    if PYTHON_FILE.fullmatch(bare):
        return Name(text, "file.py:", bare, merged)
    if bare in registry:
        if bare.endswith(":"):
            raise SettingError(
                f"The {registry.kind} '{text}' says no place; write it after the colon."
            )
        return Name(text, bare, "", merged)
    kind, colon, place = bare.partition(":")
    if colon and kind + colon in registry:
        return Name(text, kind + colon, place, merged)
    if bare.endswith(".py"):
        raise SettingError(
            f"The {registry.kind} '{text}' names a file but no function in it; write"
            f" '{function_in(bare, registry.kind)}'."
        )
    end = meant(bare, registry.kind, registry.names())
    raise SettingError(f"There is no {registry.kind} named '{bare}'; {end}")


def check_options(name: Name, known: Iterable[str]) -> None:
    """Refuse an option that a source does not have.

    Args:
        name: the name of the source with its options.
        known: the options that it has.

    Raises:
        SettingError: there is one.
    """
    known = list(known)
    for option in name.options:
        if option not in known:
            raise SettingError(
                f"The source '{name.text}' has no option '{option}'; {nearest(option, known)}"
            )


def _query(query: str, text: str) -> dict[str, Any]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise SettingError(
            f"The options of '{text}' are malformed; write them as ?name=value&other=value."
        ) from None
    options: dict[str, Any] = {}
    for key, value in pairs:
        if key in options:
            raise SettingError(f"The option '{key}' of '{text}' is given twice; give it once.")
        options[key] = _value(value)
    return options


def _value(text: str) -> Any:
    """An int, a float, a bool, None, a tuple of such (comma-separated), or the text itself."""
    if "," in text:
        return tuple(_value(part) for part in text.split(",") if part)
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def in_name(name: str, rename: Callable[[str], str]) -> str:
    """Rename the path in `parquet:DIR?options`, `hf:DIR?options` or `FILE.py:factory?options`.

    Other names hold none.
    """
    head, colon, tail = name.partition(":")
    if colon and head in FOLDER_SOURCES:
        path, mark, options = tail.partition("?")
        if not path:  # refused later, as it says no place
            return name
        if head in TOKENIZED:
            options = "&".join(_moved(option, rename) for option in options.split("&"))
        return f"{head}:{rename(path)}{mark}{options}"
    return f"{rename(head)}:{tail}" if colon and head.endswith(".py") else name


def _moved(option: str, rename: Callable[[str], str]) -> str:
    """An option with its path renamed, if it is `tokenizer=PATH`."""
    key, equals, path = option.partition("=")
    if key != "tokenizer" or not path:
        return option
    return f"{key}{equals}{quote(rename(unquote_plus(path)), safe='/~:, ')}"


def files_in(content: Any, paths: bool = False) -> Iterator[str]:
    """The Python files of all names `FILE.py:function` in plain content, as it is parsed from YAML.

    Args:
        content: a text, or mappings and lists with texts in them; what a key "sha256" holds is none
            of a name.
        paths: every other text is the path of a Python file.
    """
    if isinstance(content, str):
        match = PYTHON_FILE.fullmatch(content.strip().partition("?")[0])
        if match or paths:
            yield match["file"] if match else content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if key != "sha256":
                yield from files_in(value, paths)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from files_in(value, paths)


def place_in(name: str) -> list[Path]:
    """The file or folder in the name of a model or of data, if there is one."""
    found: list[Path] = []

    def keep(path: str) -> str:
        found.append(Path(path))
        return path

    in_name(name, keep)
    return found
