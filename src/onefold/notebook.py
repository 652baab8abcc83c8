"""The short form of a result in a notebook: a heading, a sentence or two, and a small table.

A notebook shows what `_repr_html_` of an object returns. It is text without scripts or links, whose
colours are those of the page around it, so that it suits light and dark themes.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from onefold.printable import printable

ROWS = 12  # of a table; further ones are counted
_BOX = "border-left: 3px solid #2a7fc9; padding: .2em 0 .2em .9em; max-width: 60em"
_TABLE = "border-collapse: collapse; margin: .4em 0"
_CELL = "padding: .2em .8em .2em 0; border: 0; background: none; text-align: {side}"
_QUIET = "opacity: .75; margin: .3em 0 0"


def card(
    heading: str,
    sentences: Sequence[str] = (),
    columns: Sequence[str] = (),
    rows: Sequence[Sequence[str]] = (),
    more: str = "",
) -> str:
    """The short form as HTML.

    Args:
        heading: what it is.
        sentences: what it says; empty ones are left out.
        columns: the headings of a table.
        rows: a text for each column; the first is a name, all others are numbers.
        more: where all of it can be seen.
    """
    parts = [f"<strong>{_text(heading)}</strong>"] if heading else []
    parts += [f'<p style="margin: .3em 0">{_text(one)}</p>' for one in sentences if one]
    if rows:
        head = "".join(_cell("th", name, k) for k, name in enumerate(columns))
        body = "".join(
            f"<tr>{''.join(_cell('td', cell, k) for k, cell in enumerate(row))}</tr>"
            for row in rows[:ROWS]
        )
        parts.append(
            f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        )
        if len(rows) > ROWS:
            parts.append(f'<p style="{_QUIET}">and {len(rows) - ROWS} more rows</p>')
    if more:
        parts.append(f'<p style="{_QUIET}">{_text(more)}</p>')
    return f'<div style="{_BOX}">{"".join(parts)}</div>'


def _cell(tag: str, text: str, column: int) -> str:
    style = _CELL.format(side="right" if column else "left")
    return f'<{tag} style="{style}">{_text(text)}</{tag}>'


def _text(text: str) -> str:
    return escape(printable(text, lines=True))


__all__ = ["card"]
