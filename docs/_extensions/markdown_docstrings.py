"""Docstrings that are Markdown in small things: indented blocks are code, and a star is a star."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Example|Examples|Note):\s*$")
STAR = re.compile(r"(?<=\S)(\s*)(\*+)")
BEFORE_NAPOLEON = 400


def mend(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring in place."""
    mended: list[str] = []
    prose, code = True, False
    for line in lines:
        prose = prose and not SECTION.match(line)
        indented = line.startswith("    ")
        if prose and indented and not code and not (mended and mended[-1].strip()):
            mended += [".. code-block:: python", ""]
            code = True
        elif line.strip() and not indented:
            code = False
        mended.append(line if code else _escaped(line))
    lines[:] = mended


def _escaped(line: str) -> str:
    """The line with stars as such, but for those in code and those that begin it."""
    parts = line.split("`")
    parts[::2] = [STAR.sub(lambda m: m[1] + m[2].replace("*", r"\*"), part) for part in parts[::2]]
    return "`".join(parts)


def setup(app: Sphinx) -> dict[str, Any]:
    """Mend docstrings before napoleon reads their sections."""
    app.connect("autodoc-process-docstring", mend, priority=BEFORE_NAPOLEON)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
