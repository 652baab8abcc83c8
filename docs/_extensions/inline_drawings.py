"""Drawings that follow the reader's choice of light or dark.

A drawing is an SVG file in docs/drawings/, shown by Markdown's `![text](drawings/NAME.svg)`. Its
colours are variables of CSS with defaults. On the site the file becomes a part of the page, whose
theme sets these variables. Elsewhere it is an ordinary picture with its defaults.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

FOLDER = "drawings"


def inline(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Replace the images of drawings by their markup."""
    if app.builder.format != "html":
        return
    for image in list(doctree.findall(nodes.image)):
        path = Path(str(image["uri"]))
        if path.suffix != ".svg" or FOLDER not in path.parts:
            continue
        drawing = (Path(app.srcdir) / path).read_text(encoding="utf-8")
        drawing = re.sub(r"<\?xml[^>]*\?>\s*", "", drawing)
        described = html.escape(image.get("alt", ""), quote=True)
        opening = f'<div class="drawing" tabindex="0" role="img" aria-label="{described}">'
        image.replace_self(nodes.raw("", f"{opening}{drawing}</div>", format="html"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Replace drawings when a page is written."""
    app.connect("doctree-resolved", inline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
