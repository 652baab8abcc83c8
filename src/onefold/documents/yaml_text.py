"""YAML text as plain data, with the line of every key.

A recipe holds text, numbers, true, false, null, lists and mappings. Whatever else YAML knows is
refused: tags of any other kind, keys that are no text, and keys that are given twice. What is read
is never much larger than its text: aliases may be used, but not to blow a short text up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Keys = tuple[int | str, ...]
Twice = Callable[[str, int], None]

DEEPEST = 40  # levels of lists and mappings inside one another
MOST = 20_000  # entries of lists and mappings together
GROWTH = 4  # characters that aliases may make of one character of the text
CORE = "tag:yaml.org,2002:"
PLAIN = {CORE + name for name in ("null", "bool", "int", "float", "str", "seq", "map")}
MERGE = CORE + "merge"


class NotPlain(yaml.MarkedYAMLError):
    """YAML that is no plain data, or more of it than a recipe can mean."""


@dataclass(frozen=True)
class PlainData:
    """What a YAML text holds.

    Attributes:
        content: text, numbers, truth values, None, lists and dicts.
        lines: the line of each key and entry, from 1, by the keys that lead to it.
    """

    content: Any
    lines: Mapping[Keys, int] = field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 1e-4 for text, and dates for no text; here it is as in YAML 1.2."""

    depth = entries = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth, self.entries = self.depth + 1, self.entries + 1
        deep = self.depth > DEEPEST
        if deep or self.entries > MOST:
            why = f"nested more than {DEEPEST} levels deep" if deep else f"of over {MOST} entries"
            raise _refused(f"it is {why}", self.peek_event())  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag in PLAIN | {MERGE}]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
FLOAT = (CORE + "float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))
_Loader.add_implicit_resolver(*FLOAT)


class _Dumper(yaml.SafeDumper):
    """Quotes a text that the loader would take for a number."""


_Dumper.add_implicit_resolver(*FLOAT)


def text_from(content: Any) -> str:
    """Plain data as YAML text, from which `plain_data` reads it again."""
    return str(
        yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    )


def plain_data(text: str) -> PlainData:
    """Read YAML text.

    Raises:
        yaml.YAMLError: it is no YAML, or no plain data; most errors have the place as
            `problem_mark`.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return PlainData(None)
        reader = _Reader(loader, GROWTH * len(text) + 1000)
        return PlainData(reader.value(node, ()), reader.lines)
    finally:
        loader.dispose()


def plain_documents(text: str, twice: Twice | None = None) -> list[PlainData]:
    """Read YAML text that may hold several documents, with the lines of the whole text.

    Args:
        text: the text; documents that hold nothing are left out.
        twice: told of a key that is given twice, with its line, where the last value is to win;
            None: such a key is refused.

    Raises:
        yaml.YAMLError: as `plain_data`.
    """
    loader, left, found = _Loader(text), GROWTH * len(text) + 1000, []
    try:
        while loader.check_node() and (node := loader.get_node()) is not None:
            reader = _Reader(loader, left, twice)
            content = reader.value(node, ())
            left = reader.left
            if content is not None:
                found.append(PlainData(content, reader.lines))
        return found
    finally:
        loader.dispose()


class _Reader:
    """Makes plain data of nodes. left: how many characters it may hold still."""

    def __init__(self, loader: _Loader, left: int, twice: Twice | None = None) -> None:
        self.loader, self.left, self.twice = loader, left, twice
        self.lines: dict[Keys, int] = {}

    def value(self, node: Node, keys: Keys) -> Any:
        self.lines.setdefault(keys, node.start_mark.line + 1)
        self.left -= 1 + (len(node.value) if isinstance(node, ScalarNode) else 0)
        if self.left < 0:
            raise _refused("its aliases repeat far more than it holds", node)
        if len(keys) > DEEPEST:  # an alias inside what it stands for
            raise _refused(f"it is nested more than {DEEPEST} levels deep", node)
        if node.tag not in PLAIN:
            name = node.tag.removeprefix(CORE)
            raise _refused(f"the tag {name[:60]!r} is not taken; write plain text or numbers", node)
        if isinstance(node, MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, SequenceNode):
            return [self.value(entry, (*keys, k)) for k, entry in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: Node) -> Any:
        _check_text(node)
        if ":" in node.value and node.tag in (CORE + "int", CORE + "float"):
            return node.value  # YAML 1.1 takes 1:30 for ninety
        try:
            return self.loader.construct_object(node)
        except (ValueError, OverflowError, LookupError):
            raise _refused(f"{node.value[:40]!r} is no number that can be read", node) from None

    def _mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == MERGE:
                merged = {**self._merged(value, keys), **merged}
                continue
            name = self._key(key)
            if name in found and self.twice is not None:
                self.twice(name, key.start_mark.line + 1)
            elif name in found:
                raise _refused(f"the key {name[:60]!r} is given twice; give it once", key)
            inner = (*keys, name)
            self.lines[inner] = key.start_mark.line + 1
            found[name] = self.value(value, inner)
        return {**merged, **found}

    def _key(self, node: Node) -> str:
        if node.tag != CORE + "str" or not isinstance(node, ScalarNode):
            shown = repr(node.value[:40]) if isinstance(node, ScalarNode) else "of a mapping"
            raise _refused(f"the key {shown} is no text", node)
        _check_text(node)
        self.left -= len(node.value)
        return str(node.value)

    def _merged(self, node: Node, keys: Keys) -> dict[str, Any]:
        """The mapping, or the mappings, that `<<` adds; an earlier one wins."""
        parts = node.value if isinstance(node, SequenceNode) else [node]
        found: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, MappingNode):
                raise _refused("'<<' takes mappings", node)
            found = {**self.value(part, keys), **found}
        return found


def _check_text(node: Node) -> None:
    """Raises NotPlain for half a character, which no file and no terminal takes."""
    if any("\ud800" <= letter <= "\udfff" for letter in node.value):
        raise _refused("it holds half a character", node)


def _refused(reason: str, at: Any) -> NotPlain:
    return NotPlain(problem=reason, problem_mark=at.start_mark)
