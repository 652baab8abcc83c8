"""Links of pages to files of the repository that are no pages themselves.

A document that is read in the repository links to `../CONTRIBUTING.md`. The site holds this file as
the page `contributing`. Other files of the repository (scripts, folders) are named, but not linked.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from sphinx.application import Sphinx

PAGES = {"CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog", "SECURITY.md": "security"}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s#]+)(#[^()\s]*)?\)")


def mend(app: Sphinx, page: str, source: list[str]) -> None:
    """Point the links of a Markdown page to what is on the site."""
    if Path(app.env.doc2path(page)).suffix != ".md":
        return
    docs = Path(app.srcdir)
    folder = docs / PurePosixPath(page).parent

    def mended(found: re.Match[str]) -> str:
        picture, text, target, anchor = found.groups()
        if picture or ":" in target:
            return found.group()
        path = Path(os.path.normpath(folder / target))
        if not target.startswith("..") or path.is_relative_to(docs) or not path.exists():
            return found.group()
        name = path.relative_to(docs.parent).as_posix()
        if name in PAGES:
            return f"[{text}]({os.path.relpath(docs / PAGES[name], folder)}.md{anchor or ''})"
        return text if name in text else f"{text} (`{name}`)"

    source[0] = LINK.sub(mended, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Mend pages before they are parsed."""
    app.connect("source-read", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
