"""The blocks of a report: text, facts, tables, grids of numbers and pictures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from onefold.finite import finite
from onefold.notebook import card
from onefold.report.svg_check import check_svg

Cell = str | bool | int | float | None


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(_Block):
    """Prose.

    Attributes:
        text: the text; an empty line begins a new paragraph.
    """

    kind: Literal["text"] = "text"
    text: str


class Facts(_Block):
    """Names and values.

    Attributes:
        facts: (name, value) in order; the name of a number says its unit.
    """

    kind: Literal["facts"] = "facts"
    facts: tuple[tuple[str, Cell], ...]

    @field_validator("facts")
    @classmethod
    def _finite(cls, facts: tuple[tuple[str, Cell], ...]) -> tuple[tuple[str, Cell], ...]:
        return tuple((name, finite(value)) for name, value in facts)


class Column(_Block):
    """A table's column.

    Attributes:
        name: its name.
        unit: the unit of its numbers, or "".
        digits: their decimals; None writes four significant digits.
        best: which of its numbers a page marks: the "highest", the "lowest", or none ("").
        part: a page writes an "error" behind the cell before it and a "note" below, in one cell.
        signed: positive numbers have a plus sign.
        bars: a page adds a bar to each number, to the right for gains and to the left for losses.
        detail: a terminal shows it in the long form of a table alone.
    """

    name: str
    unit: str = ""
    digits: int | None = None
    best: Literal["", "highest", "lowest"] = ""
    part: Literal["", "error", "note"] = ""
    signed: bool = False
    bars: bool = False
    detail: bool = False

    @property
    def heading(self) -> str:
        """Name and unit, for the head of the column."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def write(self, cell: Cell) -> str:
        """A cell of this column as text."""
        if cell is None:
            return "–"
        if isinstance(cell, bool):
            return "yes" if cell else "no"
        if isinstance(cell, int):
            return f"{cell:+,}" if self.signed else f"{cell:,}"
        if isinstance(cell, float):
            sign = "+" * self.signed
            return f"{cell:{sign}.4g}" if self.digits is None else f"{cell:{sign},.{self.digits}f}"
        return cell


class Table(_Block):
    """Rows of cells under named columns.

    Attributes:
        caption: a sentence below the table, or "".
        columns: the columns.
        rows: one cell for each column; numbers are raw, in their column's unit.
        emphasis: the rows (from 0) that are set in bold.
    """

    kind: Literal["table"] = "table"
    caption: str = ""
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    emphasis: tuple[int, ...] = ()

    @field_validator("rows")
    @classmethod
    def _finite(cls, rows: tuple[tuple[Cell, ...], ...]) -> tuple[tuple[Cell, ...], ...]:
        return tuple(tuple(finite(cell) for cell in row) for row in rows)

    @model_validator(mode="after")
    def _rectangular(self) -> Table:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {i} has {len(row)} cells for {len(self.columns)} columns")
        return self

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        caption = [self.caption] if self.caption else []
        return card("", caption, self.headings, self.plain())

    @property
    def headings(self) -> tuple[str, ...]:
        """The columns' names with their units."""
        return tuple(column.heading for column in self.columns)

    def plain(self) -> list[list[str]]:
        """All cells as text, for a terminal."""
        return [
            [column.write(cell) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def best(self, column: int) -> frozenset[int]:
        """The rows (from 0) whose number in that column is the best; none if all are equal."""
        wanted = self.columns[column].best
        cells = {i: row[column] for i, row in enumerate(self.rows)}
        numbers = {i: cell for i, cell in cells.items() if isinstance(cell, int | float)}
        if not wanted or len(set(numbers.values())) < 2:
            return frozenset()
        top = max(numbers.values()) if wanted == "highest" else min(numbers.values())
        return frozenset(i for i, number in numbers.items() if number == top)


class Grid(_Block):
    """A matrix of numbers, each shaded by its size.

    Attributes:
        caption: a sentence below it, or "".
        corner: the names of the rows and of the columns, as "label / answer".
        rows: the names of the rows.
        columns: the names of the columns.
        values: a number for each row and column; None is a gap.
        digits: decimals of the numbers.
        high: the number of the darkest shade; None takes the largest.
    """

    kind: Literal["grid"] = "grid"
    caption: str = ""
    corner: str = ""
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | str | None, ...], ...]
    digits: int = 2
    high: float | None = None

    @field_validator("values", mode="before")
    @classmethod
    def _finite(cls, values: object) -> object:
        return finite(values)

    @model_validator(mode="after")
    def _rectangular(self) -> Grid:
        shape = len(self.values), {len(row) for row in self.values}
        if shape != (len(self.rows), {len(self.columns)}):
            raise ValueError(
                f"the grid has {len(self.rows)} row and {len(self.columns)} column names, which do"
                " not fit its numbers"
            )
        return self

    def table(self) -> Table:
        """The same numbers as a table."""
        names = (self.corner, *self.columns)
        return Table(
            columns=tuple(Column(name=name, digits=self.digits) for name in names),
            rows=tuple((name, *row) for name, row in zip(self.rows, self.values, strict=True)),
        )


class Picture(_Block):
    """An SVG drawing with a caption.

    Attributes:
        svg: the SVG element, which may only draw.
        caption: a sentence below the picture, or "".
        description: the content of the picture in words, for readers who cannot see it.
        narrow: the same content for narrow screens; "": there is no other drawing.
        zoom: a page offers to enlarge it.
        numbers: the numbers that it shows, as a table.
    """

    kind: Literal["picture"] = "picture"
    svg: str
    caption: str = ""
    description: str = ""
    narrow: str = ""
    zoom: bool = False
    numbers: Table | None = None

    @field_validator("svg", "narrow")
    @classmethod
    def _drawing_only(cls, svg: str) -> str:
        if svg:
            check_svg(svg)
        return svg

    @model_validator(mode="after")
    def _drawn(self) -> Picture:
        if not self.svg:
            raise ValueError("its SVG is empty")
        return self


Block = Annotated[Text | Facts | Table | Grid | Picture, Field(discriminator="kind")]


def first_problem(error: ValidationError) -> str:
    """The first complaint of pydantic, as a part of a sentence."""
    complaint = error.errors()[0]
    place = ".".join(str(part) for part in complaint["loc"])
    message = complaint["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
