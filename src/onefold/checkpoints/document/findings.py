"""What is found while a document is read: refused, or passed over with a sentence.

Read strictly, nothing in a document is passed over: a key without an effect is refused. Read as
mergekit reads it, such a key is ignored, and a sentence tells that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from onefold.documents.problems import MISSING, Keys, Source, WrongKey, key_name
from onefold.errors import nearest

LONGEST = 60  # characters of a key that are shown


class Findings:
    """Refuses what is wrong with a document, and collects what is ignored in it.

    Args:
        source: where the document is from.
        as_mergekit: ignore what mergekit ignores; False: refuse it.
        trust: a Python file that the document names may be run.
    """

    def __init__(self, source: Source, as_mergekit: bool = False, *, trust: bool = False) -> None:
        self.source, self.as_mergekit, self.trust = source, as_mergekit, trust
        self.ignored: list[str] = []
        self.notes: list[str] = []
        self.doubts: list[str] = []

    def refuse(self, at: Keys, reason: str, found: object = MISSING) -> NoReturn:
        """Raise the sentence on a key whose value cannot be taken in either way of reading."""
        raise self.source.error(WrongKey(at, reason, found))

    def ignore(self, at: Keys, reason: str, found: object = MISSING) -> None:
        """Refuse a key that has no effect; as mergekit: note that it is ignored.

        Args:
            at: the key.
            reason: what is wrong and what to do, as the end of a sentence.
            found: the value, if it is worth telling.

        Raises:
            RecipeError: the document is read strictly.
        """
        if not self.as_mergekit:
            self.refuse(at, reason, found)
        self._tell(self.ignored, at, f"ignored, as in mergekit: {reason}")

    def unknown(self, at: Keys, known: Iterable[str], hint: str = "") -> None:
        """Refuse, or ignore, a key that nothing reads.

        Args:
            at: the key.
            known: the keys that there are at its place.
            hint: what to do; empty: the nearest known key is named.
        """
        otherwise = "leave it out" if self.as_mergekit else ""
        reason = hint or nearest(str(at[-1]), known, otherwise)
        reason = reason if reason.endswith((".", "?")) else f"{reason}."
        if not self.as_mergekit:
            raise self.source.error(WrongKey(at, reason, fault="unknown"))
        self._tell(self.ignored, at, f"ignored, as in mergekit, which has no such key; {reason}")

    def note(self, at: Keys, text: str) -> None:
        """Tell what was decided, as the end of a sentence."""
        self._tell(self.notes, at, text)

    def doubt(self, at: Keys, text: str) -> None:
        """Tell what most likely is a mistake and is carried out, as the end of a sentence."""
        self._tell(self.doubts, at, text)

    def missing(self, at: Keys) -> NoReturn:
        """Raise the sentence on a key that must be given."""
        raise self.source.error(WrongKey(at, "", fault="missing"))

    def mapping(self, content: object, at: Keys) -> dict[str, Any]:
        """`content`, which must hold keys and values.

        Raises:
            RecipeError: it does not.
        """
        if not isinstance(content, dict):
            self.refuse(at, "it must hold keys and values", content)
        return content

    def entries(self, content: object, at: Keys, of: str) -> list[Any]:
        """`content`, which must be a list of `of` with at least one entry.

        Raises:
            RecipeError: it is not.
        """
        if not isinstance(content, list):
            self.refuse(at, f"it must be a list of {of}", content)
        if not content:
            self.refuse(at, f"it is empty; list {of}")
        return content

    def text(self, content: object, at: Keys) -> str:
        """`content`, which must be a text that is not empty.

        Raises:
            RecipeError: it is not.
        """
        if not isinstance(content, str):
            self.refuse(at, "it must be a text", content)
        if not content.strip():
            self.refuse(at, "it is empty")
        return content

    def _tell(self, where: list[str], at: Keys, text: str) -> None:
        option = self.source.option(at) if self.source.option else ""
        shown = at
        while shown and shown not in self.source.lines:
            shown = shown[:-1]
        line = f", line {self.source.lines[shown]}" if shown else ""
        name = option or (f"key {key_name(at)[:LONGEST]!r}" if at else "")
        sentence = f"{self.source.what}{line}{', ' if name else ''}{name}: {text.rstrip('.')}"
        where.append(sentence if sentence.endswith("?") else f"{sentence}.")
