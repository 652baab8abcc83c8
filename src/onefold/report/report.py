"""A report as data: a title, sections, and in them text, facts, tables and pictures.

A report becomes one HTML page (html.py), or JSON and back. The JSON copy is complete:
`Report.from_json(report.to_json())` is the same report and renders to the same page. Unknown keys
and pictures that do more than draw are refused, since a report may come from somebody else.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from onefold.errors import DataError
from onefold.finite import finite
from onefold.report.blocks import Section, first_problem
from onefold.report.html import render
from onefold.weights import atomic_write, check_ending

FORMS = (".html", ".json")


class Report(BaseModel):
    """A run and its results, for readers and for programs. Fill it with `section(...)`.

    Attributes:
        format: the name of the JSON format.
        title: the title.
        summary: prose below the title; an empty line begins a new paragraph.
        sections: the sections in order.
        data: further results for programs, ready for JSON; what is not finite becomes a word.
    """

    model_config = ConfigDict(extra="forbid")
    format: Literal["onefold report 1"] = "onefold report 1"
    title: str
    summary: str = ""
    sections: list[Section] = []
    data: dict[str, Any] = {}

    @field_validator("data")
    @classmethod
    def _finite(cls, data: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = finite(data)
        return found

    def section(self, title: str) -> Section:
        """Append a section and return it."""
        self.sections.append(Section(title=title))
        return self.sections[-1]

    def to_html(self) -> str:
        """The report as one self-contained HTML page.

        The page loads nothing and runs no script. It has a light and a dark style. Equal reports
        give equal text.
        """
        return render(self.title, self.summary, self.sections)

    def to_json(self) -> str:
        """The whole report as JSON.

        Raises:
            DataError: `data` holds something that JSON cannot, such as a tensor.
        """
        try:
            text = json.dumps(self.model_dump(), ensure_ascii=False, allow_nan=False, indent=1)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"The report's data cannot be written as JSON ({error}); pass plain numbers,"
                " strings, lists and dicts."
            ) from None
        return text + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Report:
        """The inverse of `to_json`.

        Raises:
            DataError: the text is no JSON, or no report.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise DataError(
                f"This is no onefold report: {first_problem(error)}; pass the JSON file that was"
                " written beside a report."
            ) from None

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the page to a .html file or the data to a .json file, in full or not at all.

        Args:
            path: the file; its ending chooses the form.
            force: replace an existing file.

        Raises:
            OutputError: another ending, the file exists and `force` is false, or it cannot be
                written.
            DataError: as `to_json`.
        """
        target = Path(path)
        check_ending(target, "A report", FORMS)
        text = self.to_html() if target.suffix == ".html" else self.to_json()
        atomic_write(target, text, force=force)
