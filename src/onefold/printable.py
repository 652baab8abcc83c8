"""Names of files, modules and classes as text that a terminal or a page may show; counts.

A name may hold anything: escape sequences that move a terminal's cursor, marks that turn the
direction of reading, bytes that are no text. They are shown as a Python literal shows them.
"""

from __future__ import annotations


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with every character that does not print as its escape, such as ``\x1b``.

    Args:
        text: any text, also with the lone surrogates that stand for bytes of a file's name.
        lines: line breaks and tabs stay.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


def counted(number: int, what: str) -> str:
    """A number of things in a sentence, as "1 token" or "2,000 tokens"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
