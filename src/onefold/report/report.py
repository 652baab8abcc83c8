"""A report as data: a verdict, a picture, sections, and in them text, facts, tables and pictures.

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
from onefold.notebook import card
from onefold.report.blocks import Picture, first_problem
from onefold.report.html import render
from onefold.report.section import Section
from onefold.weights import atomic_write, check_ending

FORMS = (".html", ".json")
FORMAT: Literal["onefold report 2"] = "onefold report 2"
OLDER = ("onefold report 1",)


class Report(BaseModel):
    """A run and its results, for readers and for programs. Fill it with `section(...)`.

    Attributes:
        format: the name of the JSON format.
        title: the title.
        verdict: one sentence that says what came out, or "".
        tone: whether that is a "gain", "even" or a "loss"; "" does not say.
        summary: prose on the verdict; an empty line begins a new paragraph.
        picture: the chart on top of the page.
        date: when it was made, as 2026-11-30, or "".
        command: the command line that made it, or "".
        sections: the sections in order.
        data: further results for programs, ready for JSON; what is not finite becomes a word.
    """

    model_config = ConfigDict(extra="forbid")
    format: Literal["onefold report 2"] = FORMAT
    title: str
    verdict: str = ""
    tone: Literal["", "gain", "even", "loss"] = ""
    summary: str = ""
    picture: Picture | None = None
    date: str = ""
    command: str = ""
    sections: list[Section] = []
    data: dict[str, Any] = {}

    @field_validator("data")
    @classmethod
    def _finite(cls, data: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = finite(data)
        return found

    def section(self, title: str, *, folded: bool = False) -> Section:
        """Append a section and return it.

        Args:
            title: its heading.
            folded: a page shows its heading alone until it is opened.
        """
        self.sections.append(Section(title=title, folded=folded))
        return self.sections[-1]

    def _repr_html_(self) -> str:
        """The short form in a notebook: the verdict, and the titles of the sections."""
        told = [self.verdict or self.summary]
        titles = ", ".join(section.title for section in self.sections)
        return card(self.title, told, more=f"Sections: {titles}; save(path) writes the page.")

    def to_html(self) -> str:
        """The report as one self-contained HTML page.

        The page loads nothing and runs no script. It has a light and a dark style. Equal reports
        give equal text.
        """
        return render(self)

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
            DataError: the text is no JSON, no report, or one that an older version wrote.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            if (found := _format(text)) in OLDER:
                raise DataError(
                    f"This report has the format '{found}' of an older onefold, and this one reads"
                    f" '{FORMAT}'; run the command that wrote it again."
                ) from None
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


def _format(text: str | bytes) -> object:
    """The name of the format that a JSON text gives; None if it gives none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found.get("format") if isinstance(found, dict) else None
