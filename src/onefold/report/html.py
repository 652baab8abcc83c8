"""A report as one HTML page.

Everything is in the file: style and pictures inline, nothing to load, no script; the page's own
content policy forbids both. All text is escaped. Wide tables and pictures scroll inside their box,
so that the page itself never does. The same report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from onefold._version import __version__
from onefold.report.blocks import Column, Facts, Picture, Section, Table, Text

CONTENTS_FROM = 4  # sections that make a table of contents worth its room
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #ffffff; --quiet: #59636e; --line: #d1d9e0; --tint: #f4f6f8; --accent: #1b66a8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --paper: #15191e; --quiet: #a3adb8; --line: #363e47; --tint: #1d232a; --accent: #7ab8ef; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: anywhere; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; text-wrap: balance; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
p { margin: 0 0 .8rem; max-width: 42rem; }
.summary { font-size: 1.1rem; }
nav { margin: 1.5rem 0 0; padding: .9rem 1.1rem; background: var(--tint); border-radius: .5rem; }
nav ol { margin: 0; padding-left: 1.4rem; columns: 16rem; }
a { color: var(--accent); }
.scroll { overflow-x: auto; margin: 0; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
figure { margin: 1rem 0 1.5rem; }
figcaption { color: var(--quiet); font-size: .92rem; margin-top: .4rem; max-width: 42rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .4rem .6rem; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { padding-left: .2rem; }
thead th { color: var(--quiet); font-weight: 600; vertical-align: bottom; border-bottom: 2px solid var(--line); min-width: 4.6rem; }
thead .number { white-space: normal; }
tbody th { font-weight: 400; min-width: 8rem; }
thead .unit { display: block; font-weight: 400; }
.number { text-align: right; white-space: nowrap; }
td:not(.number) { min-width: 12rem; max-width: 26rem; }
.emphasis { background: var(--tint); }
.emphasis th, .emphasis td { font-weight: 650; }
dl { display: grid; grid-template-columns: minmax(8rem, 18rem) minmax(0, 1fr); gap: .35rem 1.25rem; margin: .5rem 0 1.25rem; max-width: 50rem; }
dt { color: var(--quiet); }
dd { margin: 0; font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; min-width: 33rem; max-width: 46rem; height: auto; overflow: visible; color: var(--ink); }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line); color: var(--quiet); font-size: .85rem; }
@media (max-width: 34rem) {
  main { padding: 1.25rem 1rem 2rem; }
  h1 { font-size: 1.45rem; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: .5rem; }
}
@media print {
  :root { --ink: #000000; --paper: #ffffff; --quiet: #444444; --line: #bbbbbb; --tint: #f2f2f2; --accent: #000000; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  svg { min-width: 0; max-width: 15cm; }
}
"""


def render(title: str, summary: str, sections: Sequence[Section]) -> str:
    """The page of a report, as text."""
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
        return (
            "<dl>"
            + "".join(
                f"<dt>{escape(key)}</dt><dd>{escape(write(value))}</dd>"
                for key, value in block.facts
            )
            + "</dl>"
        )
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
        f'<th scope="col"{_number(is_number)}>{escape(column.name)}'
        + (f' <span class="unit">({escape(column.unit)})</span>' if column.unit else "")
        + "</th>"
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
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
    )


def _picture(picture: Picture) -> str:
    description = escape(picture.description or picture.caption or "figure", quote=True)
    return picture.svg.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)


def _is_numeric(table: Table, column: int) -> bool:
    """A column whose cells are all numbers, gaps, or numbers JSON has no word for."""
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


def _paragraphs(text: str) -> list[str]:
    return [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]
