"""A report as one HTML page.

The verdict in one sentence and one chart stand on top; the sections below fold away. Style and
pictures are inline. The page loads nothing and runs no script, and its own content policy forbids
both. All text is escaped. Wide tables and pictures scroll inside their box, so that the page itself
never does. The same report gives the same bytes.
"""

from __future__ import annotations

from datetime import date
from typing import Protocol

from onefold._version import __version__
from onefold.report.blocks import Picture
from onefold.report.html_blocks import block_html, escape, paragraphs, picture_html
from onefold.report.page_style import STYLE
from onefold.report.section import Section

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
    " form-action 'none'"
)
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
TONES = {"gain": "▲ A gain", "even": "● No clear difference", "loss": "▼ A loss"}


class Shown(Protocol):
    """The parts of a `Report` that a page shows."""

    @property
    def title(self) -> str:
        """See `Report`."""

    @property
    def verdict(self) -> str:
        """See `Report`."""

    @property
    def tone(self) -> str:
        """See `Report`."""

    @property
    def summary(self) -> str:
        """See `Report`."""

    @property
    def picture(self) -> Picture | None:
        """See `Report`."""

    @property
    def date(self) -> str:
        """See `Report`."""

    @property
    def command(self) -> str:
        """See `Report`."""

    @property
    def sections(self) -> list[Section]:
        """See `Report`."""


def render(report: Shown) -> str:
    """The page of a report, as text."""
    sections = "\n".join(_section(section, i) for i, section in enumerate(report.sections, start=1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(report.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header class="hero">
{hero(report)}
</header>
{sections}
<footer>Written by onefold {escape(__version__)}.</footer>
</main>
</body>
</html>
"""


def hero(report: Shown) -> str:
    """The top of the page: what it is about, the verdict, the chart, when and how it was made."""
    parts = [f"<h1{' class=alone' * (not report.verdict)}>{escape(report.title)}</h1>"]
    if report.date:
        parts.append(f'<p class="made">{escape(_written(report.date))}</p>')
    words = [f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs(report.summary)]
    if report.verdict:
        if report.tone:
            parts.append(f'<p class="tone {report.tone}">{TONES[report.tone]}</p>')
        # a number and its sign stay on one line
        sentence = escape(report.verdict).replace(" %", "&nbsp;%")
        parts.append(f'<p class="verdict">{sentence}</p>')
    else:
        parts += words
    if report.picture is not None:
        parts.append(picture_html(report.picture, report.title, "picture-0"))
    if report.verdict and words:
        parts.append(_folded("In full sentences", "".join(words)))
    if report.command:
        parts.append(_folded("Command", f"<code>{escape(report.command)}</code>"))
    return "\n".join(parts)


def _folded(name: str, inner: str) -> str:
    return f'<details class="numbers"><summary>{name}</summary>{inner}</details>'


def _written(day: str) -> str:
    """A date as 30 November 2026; what is no date stays as it is."""
    try:
        found = date.fromisoformat(day)
    except ValueError:
        return day
    return f"{found.day} {MONTHS[found.month - 1]} {found.year}"


def _section(section: Section, number: int) -> str:
    blocks = "\n".join(
        block_html(block, f"{section.title}, part {i}", f"block-{number}-{i}")
        for i, block in enumerate(section.blocks, start=1)
    )
    return (
        f'<section id="section-{number}">\n<details{" open" * (not section.folded)}>'
        f"<summary><h2>{escape(section.title)}</h2></summary>\n{blocks}\n</details>\n</section>"
    )
