"""Sentences beneath a table, in lines of a document's length."""

from __future__ import annotations

import textwrap


def paragraph(text: str) -> list[str]:
    """The text in lines of at most 100 columns."""
    return textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
