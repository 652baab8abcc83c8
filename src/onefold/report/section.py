"""A titled part of a report, which is filled block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from onefold.errors import DataError
from onefold.report.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Grid,
    Picture,
    Table,
    Text,
    first_problem,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Section(BaseModel):
    """A titled part of a report.

    Every method appends one block and returns the section, so that calls can be chained.

    Attributes:
        title: its heading.
        folded: a page shows its heading alone until it is opened.
        blocks: its content in order.
    """

    model_config = ConfigDict(extra="forbid")
    title: str
    folded: bool = False
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

    def grid(self, grid: Grid) -> Section:
        """Append a matrix of shaded numbers."""
        self.blocks.append(grid)
        return self

    def picture(
        self,
        figure: Picture | Callable[[], Figure] | Figure | str,
        caption: str = "",
        description: str = "",
        *,
        zoom: bool = False,
        numbers: Table | None = None,
    ) -> Section:
        """Append a finished Picture, a matplotlib Figure, a function that draws one, or an SVG.

        The function is not called if matplotlib is missing. A sentence then takes the place of the
        picture and says what to install.

        Args:
            figure: the picture.
            caption: a sentence below it.
            description: its content in words, for readers who cannot see it.
            zoom: a page offers to enlarge it.
            numbers: the numbers that it shows.

        Raises:
            DataError: the SVG text holds anything but drawing.
        """
        if isinstance(figure, Picture):
            self.blocks.append(figure)
            return self
        if callable(figure):
            from onefold.report.style import MISSING, can_draw

            if not can_draw():
                self.text(f"{caption} (No picture. {MISSING})")
                return self if numbers is None else self.table(numbers)
            figure = figure()
        if not isinstance(figure, str):
            from onefold.report.style import to_svg

            number = sum(isinstance(block, Picture) for block in self.blocks)
            figure = to_svg(figure, f"{self.title.lower()}-{number}")
        try:
            self.blocks.append(
                Picture(
                    svg=figure, caption=caption, description=description, zoom=zoom, numbers=numbers
                )
            )
        except ValidationError as error:
            raise DataError(
                f"Picture '{caption}' cannot be embedded: {first_problem(error)}."
            ) from None
        return self
