"""A report as one HTML page.

Style and pictures are inline. The page loads nothing and runs no script, and its own content policy
forbids both. All text is escaped. Wide tables and pictures scroll inside their box, so that the
page itself never does. The same report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as escape_markup

from onefold._version import __version__
from onefold.printable import printable
from onefold.report.blocks import Column, Facts, Picture, Section, Table, Text
from onefold.report.page_style import STYLE

CONTENTS_FROM = 4  # sections from which a page has a table of contents
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
    " form-action 'none'"
)


def render(title: str, summary: str, sections: Sequence[Section]) -> str:
    """The page of a report, as text.

    Args:
        title: the title, of the page and of its first heading.
        summary: prose below the title; an empty line begins a new paragraph.
        sections: the sections.
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    parts += [f'<p class="summary">{escape(paragraph)}</p>' for paragraph in _paragraphs(summary)]
    if len(sections) >= CONTENTS_FROM:
        entries = "".join(
            f'<li><a href="#section-{i}">{escape(section.title)}</a></li>'
            for i, section in enumerate(sections, start=1)
        )
        parts.append(f'<nav aria-label="Contents"><ol>{entries}</ol></nav>')
    parts += [_section(section, i) for i, section in enumerate(sections, start=1)]
    parts.append(f"<footer>Written by onefold {escape(__version__)}.</footer>")
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _section(section: Section, number: int) -> str:
    blocks = "\n".join(
        _block(block, f"{section.title}, part {i}")
        for i, block in enumerate(section.blocks, start=1)
    )
    return (
        f'<section id="section-{number}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>'
    )


def _block(block: Text | Facts | Table | Picture, name: str) -> str:
    if isinstance(block, Text):
        return "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in _paragraphs(block.text))
    if isinstance(block, Facts):
        write = Column(name="").write
        pairs = (
            f"<dt>{escape(key)}</dt><dd>{escape(write(value))}</dd>" for key, value in block.facts
        )
        return f"<dl>{''.join(pairs)}</dl>"
    inner = _table(block) if isinstance(block, Table) else _picture(block)
    label = escape(block.caption or name, quote=True)
    caption = f"<figcaption>{escape(block.caption)}</figcaption>" if block.caption else ""
    # A box that scrolls must be reachable by keyboard, hence tabindex, and then needs a name.
    return (
        '<figure><div class="scroll" tabindex="0" role="region"'
        f' aria-label="{label}">{inner}</div>{caption}</figure>'
    )


def _table(table: Table) -> str:
    numeric = [_is_numeric(table, j) for j in range(len(table.columns))]
    head = "".join(
        _heading(column, is_number)
        for column, is_number in zip(table.columns, numeric, strict=True)
    )
    rows = []
    for i, cells in enumerate(table.plain()):
        first, *rest = cells
        inner = f'<th scope="row"{_number(numeric[0])}>{escape(first)}</th>'
        inner += "".join(
            f"<td{_number(is_number)}>{escape(cell)}</td>"
            for cell, is_number in zip(rest, numeric[1:], strict=True)
        )
        rows.append(f"<tr{' class=emphasis' if i in table.emphasis else ''}>{inner}</tr>")
    body = "\n".join(rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _heading(column: Column, is_number: bool) -> str:
    unit = f' <span class="unit">({escape(column.unit)})</span>' if column.unit else ""
    return f'<th scope="col"{_number(is_number)}>{escape(column.name)}{unit}</th>'


def _picture(picture: Picture) -> str:
    description = escape(picture.description or picture.caption or "figure", quote=True)
    return picture.svg.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)


def _is_numeric(table: Table, column: int) -> bool:
    """Whether all cells of a column are numbers, gaps, or numbers that JSON does not have."""
    cells = [row[column] for row in table.rows]
    words = ("inf", "-inf", "nan")
    return bool(cells) and all(
        cell is None
        or (isinstance(cell, int | float) and not isinstance(cell, bool))
        or cell in words
        for cell in cells
    )


def _number(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def escape(text: str, *, quote: bool = False) -> str:
    """Text for a page: mark-up and characters that do not print are shown, not obeyed."""
    return escape_markup(printable(text, lines=True), quote=quote)


def _paragraphs(text: str) -> list[str]:
    return [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]
