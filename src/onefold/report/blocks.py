"""The blocks of a report: text, facts, tables and pictures, in sections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from onefold.errors import DataError
from onefold.finite import finite
from onefold.report.svg_check import check_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    """

    name: str
    unit: str = ""
    digits: int | None = None

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
            return f"{cell:,}"
        if isinstance(cell, float):
            return f"{cell:.4g}" if self.digits is None else f"{cell:,.{self.digits}f}"
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


class Picture(_Block):
    """An SVG drawing with a caption.

    Attributes:
        svg: the SVG element, which may only draw.
        caption: a sentence below the picture, or "".
        description: the content of the picture in words, for readers who cannot see it.
    """

    kind: Literal["picture"] = "picture"
    svg: str
    caption: str = ""
    description: str = ""

    @field_validator("svg")
    @classmethod
    def _drawing_only(cls, svg: str) -> str:
        check_svg(svg)
        return svg


Block = Annotated[Text | Facts | Table | Picture, Field(discriminator="kind")]


class Section(BaseModel):
    """A titled part of a report.

    Every method appends one block and returns the section, so that calls can be chained.

    Attributes:
        title: its heading.
        blocks: its content in order.
    """

    model_config = ConfigDict(extra="forbid")
    title: str
    blocks: list[Block] = []

    def text(self, text: str) -> Section:
        """Append prose; an empty line begins a new paragraph."""
        self.blocks.append(Text(text=text))
        return self

    def facts(self, facts: Mapping[str, Cell]) -> Section:
        """Append names and values. The name of a number says its unit."""
        self.blocks.append(Facts(facts=tuple(facts.items())))
        return self

    def table(
        self,
        table: Table | Sequence[Column | str],
        rows: Iterable[Sequence[Cell]] = (),
        *,
        caption: str = "",
        emphasis: Iterable[int] = (),
    ) -> Section:
        """Append a finished Table, or one of these columns and rows.

        Args:
            table: the table, or its columns (a text is a column without unit).
            rows: one cell for each column.
            caption: a sentence below the table.
            emphasis: the rows (from 0) that are set in bold.

        Raises:
            DataError: a row has not one cell for each column.
        """
        if not isinstance(table, Table):
            columns = tuple(
                Column(name=column) if isinstance(column, str) else column for column in table
            )
            try:
                table = Table(
                    columns=columns,
                    rows=tuple(tuple(row) for row in rows),
                    caption=caption,
                    emphasis=tuple(emphasis),
                )
            except ValidationError as error:
                raise DataError(
                    f"Table '{caption}' of section '{self.title}' does not fit its columns:"
                    f" {first_problem(error)}."
                ) from None
        self.blocks.append(table)
        return self

    def picture(
        self, figure: Callable[[], Figure] | Figure | str, caption: str, description: str = ""
    ) -> Section:
        """Append a matplotlib Figure, a function that draws one, or an SVG element as text.

        The function is not called if matplotlib is missing. A sentence then takes the place of the
        picture and says what to install.

        Args:
            figure: the picture.
            caption: a sentence below it.
            description: its content in words, for readers who cannot see it.

        Raises:
            DataError: the SVG text holds anything but drawing.
        """
        if callable(figure):
            from onefold.report.style import MISSING, can_draw

            if not can_draw():
                return self.text(f"{caption} (No picture. {MISSING})")
            figure = figure()
        if not isinstance(figure, str):
            from onefold.report.style import to_svg

            number = sum(isinstance(block, Picture) for block in self.blocks)
            figure = to_svg(figure, f"{self.title.lower()}-{number}")
        try:
            self.blocks.append(Picture(svg=figure, caption=caption, description=description))
        except ValidationError as error:
            raise DataError(
                f"Picture '{caption}' cannot be embedded: {first_problem(error)}."
            ) from None
        return self


def first_problem(error: ValidationError) -> str:
    """The first complaint of pydantic, as a part of a sentence."""
    complaint = error.errors()[0]
    place = ".".join(str(part) for part in complaint["loc"])
    message = complaint["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
