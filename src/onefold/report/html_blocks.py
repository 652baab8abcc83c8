"""Tables, grids and pictures of a report as parts of a page.

Wide ones scroll inside their box. Numbers can be copied as CSV, and the best of a column is marked
for eyes and for screen readers.
"""

from __future__ import annotations

import csv
import io
from html import escape as escape_markup

from onefold.printable import printable
from onefold.report.blocks import Cell, Column, Facts, Grid, Picture, Table, Text

TALL = 24  # rows above which a table scrolls in a box of its own
LINES = 12  # of a box of CSV
LIGHTEST = 4  # percent of the shade below which a cell of a grid has none
ZOOMS = (("", "fits the page"), ("z2", "2 ×"), ("z4", "4 ×"))


def block_html(block: Text | Facts | Table | Grid | Picture, name: str, place: str) -> str:
    """One block.

    Args:
        block: the block.
        name: what it is called if it has no caption.
        place: an id for it, which no other block of the page has.
    """
    if isinstance(block, Text):
        return "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs(block.text))
    if isinstance(block, Facts):
        write = Column(name="").write
        pairs = (
            f"<dt>{escape(key)}</dt><dd>{escape(write(value))}</dd>" for key, value in block.facts
        )
        return f"<dl>{''.join(pairs)}</dl>"
    if isinstance(block, Picture):
        return picture_html(block, name, place)
    table = block.table() if isinstance(block, Grid) else block
    inner = _grid(block) if isinstance(block, Grid) else _table(block)
    tall = " tall" * (len(table.rows) > TALL)
    return _figure(_box(inner, block.caption or name, tall), block.caption, _numbers(table, name))


def picture_html(picture: Picture, name: str, place: str) -> str:
    """A picture with its caption and numbers; see `block_html`."""
    label = picture.caption or name
    described = escape(picture.description or picture.caption or "figure", quote=True)

    def drawn(svg: str) -> str:
        return svg.replace("<svg", f'<svg role="img" aria-label="{described}"', 1)

    if picture.narrow:
        inner = (
            f'<div class="wide">{drawn(picture.svg)}</div>'
            f'<div class="narrow">{drawn(picture.narrow)}</div>'
        )
    elif picture.zoom:
        choices = "".join(
            f'<input type="radio" name="{place}" id="{place}-{k}"{f" class={kind}" * bool(kind)}'
            f'{" checked" * (k == 0)}> <label for="{place}-{k}">{text}</label>\n'
            for k, (kind, text) in enumerate(ZOOMS)
        )
        box = _box(drawn(picture.svg), label, "")
        inner = f'<fieldset class="zoom"><legend>Size</legend>{choices}{box}</fieldset>'
    else:
        inner = _box(drawn(picture.svg), label, "")
    return _figure(inner, picture.caption, _numbers(picture.numbers, name))


def _box(inner: str, label: str, kind: str) -> str:
    # A box that scrolls must be reachable by keyboard, hence tabindex, and then needs a name.
    return (
        f'<div class="scroll{kind}" tabindex="0" role="region"'
        f' aria-label="{escape(label, quote=True)}">{inner}</div>'
    )


def _figure(inner: str, caption: str, numbers: str) -> str:
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{inner}{told}{numbers}</figure>"


def _table(table: Table) -> str:
    """The table; errors and notes are written into the cell of the column before them."""
    shown = [j for j, column in enumerate(table.columns) if not (column.part and j)]
    numeric = {j: _is_numeric(table, j) for j in shown}
    head = "".join(_heading(table.columns[j], numeric[j]) for j in shown)
    best = {j: table.best(j) for j in shown}
    most = {j: _most(table, j) for j in shown if table.columns[j].bars}
    rows = []
    for i, row in enumerate(table.rows):
        cells = []
        for j in shown:
            text = escape(table.columns[j].write(row[j])) + _parts(table, row, j)
            if j in most:
                text += _bar(row[j], most[j])
            kinds = ["number"] * numeric[j]
            if i in best[j]:
                kinds.append("best")
                text += '<span class="hidden"> (best)</span>'
            kind = f' class="{" ".join(kinds)}"' if kinds else ""
            tag = 'th scope="row"' if j == shown[0] else "td"
            cells.append(f"<{tag}{kind}>{text}</{tag.split()[0]}>")
        rows.append(f"<tr{' class=emphasis' if i in table.emphasis else ''}>{''.join(cells)}</tr>")
    body = "\n".join(rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _parts(table: Table, row: tuple[Cell, ...], column: int) -> str:
    """The errors and notes that belong to a cell."""
    text = ""
    for j in range(column + 1, len(row)):
        part = table.columns[j].part
        if not part:
            break
        if row[j] not in (None, ""):
            written = escape(table.columns[j].write(row[j]))
            text += (
                f' <span class="error">± {written}</span>'
                if part == "error"
                else f'<span class="note">{written}</span>'
            )
    return text


def _heading(column: Column, is_number: bool) -> str:
    unit = f' <span class="unit">({escape(column.unit)})</span>' if column.unit else ""
    kind = ' class="number"' if is_number else ""
    return f'<th scope="col"{kind}>{escape(column.name)}{unit}</th>'


def _bar(cell: Cell, most: float) -> str:
    """A bar to the right of the middle for a gain, to the left for a loss."""
    if not isinstance(cell, int | float) or not cell or not most:
        return '<span class="bar"></span>'
    width, side = 50 * abs(cell) / most, "plus" if cell > 0 else "minus"
    return f'<span class="bar"><i class="{side}" style="--w:{width:.0f}%"></i></span>'


def _grid(grid: Grid) -> str:
    numbers = [n for row in grid.values for n in row if isinstance(n, int | float)]
    high = grid.high if grid.high is not None else max(numbers, default=0.0)
    write = Column(name="", digits=grid.digits).write
    corner = f'<th scope="col">{escape(grid.corner)}</th>' if grid.corner else "<td></td>"
    head = corner + "".join(f'<th scope="col">{escape(name)}</th>' for name in grid.columns)
    rows = []
    for name, values in zip(grid.rows, grid.values, strict=True):
        cells = []
        for value in values:
            share = 100 * value / high if isinstance(value, int | float) and high > 0 else 0
            shade = f' style="--s:{min(share, 100):.0f}%"' if share >= LIGHTEST else ""
            shade = ' class="zero"' if value == 0 else shade
            cells.append(f"<td{shade}>{escape(write(value))}</td>")
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    body = "\n".join(rows)
    return f'<table class="grid"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'


def _numbers(table: Table | None, name: str) -> str:
    """The numbers as CSV, in a box that folds away and takes the focus, to copy from."""
    if table is None:
        return ""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.headings)
    writer.writerows([_raw(cell) for cell in row] for row in table.rows)
    label = escape(f"{name} as CSV", quote=True)
    lines = min(LINES, len(table.rows) + 2)
    return (
        '<details class="numbers"><summary>Numbers as CSV</summary>'
        f'<textarea readonly rows="{lines}" aria-label="{label}">\n{escape(stream.getvalue())}'
        "</textarea></details>"
    )


def _raw(cell: Cell) -> str | bool | int:
    """A cell for CSV: numbers of six digits, without thousands' commas."""
    if cell is None:
        return ""
    return f"{cell:.6g}" if isinstance(cell, float) else cell


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


def _most(table: Table, column: int) -> float:
    cells = (row[column] for row in table.rows)
    return max((abs(cell) for cell in cells if isinstance(cell, int | float)), default=0.0)


def escape(text: str, *, quote: bool = False) -> str:
    """Text for a page: mark-up and characters that do not print are shown, not obeyed."""
    return escape_markup(printable(text, lines=True), quote=quote)


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, between empty lines."""
    return [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]
