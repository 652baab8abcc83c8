"""What keyboards and screen readers miss in the markup of Sphinx and furo, added to each page.

Captions of the navigation get the level of a heading. Code and wide tables, which scroll, can be
focused, so that the keyboard scrolls them. A signature of several lines is a list, not a list of
definitions without terms. The dash behind a parameter is one. Links of the gallery, whose text lies
hidden behind the picture, have a name.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

LAST = 900  # after furo has put its navigation into the context
THUMBNAIL = re.compile(
    r'<a class="reference internal" href="([^"]+)"><span class="doc">([^<]+)</span></a>'
)
DASHES = re.compile(r"(</strong>|</a>|\)) -- ")  # between a parameter and its words
SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)


def body(markup: str) -> str:
    """The body of a page with what it lacks."""
    markup = re.sub(r"<pre>", '<pre tabindex="0">', markup)
    markup = re.sub(r'<div class="(table-wrapper[^"]*)"', r'<div tabindex="0" class="\1"', markup)
    markup = DASHES.sub(r"\1 – ", markup)
    if "sphx-glr-thumbcontainer" in markup:
        label = r'<a class="reference internal" href="\1" aria-label="\2"></a>'
        markup = THUMBNAIL.sub(label, markup)

    def listed(found: re.Match[str]) -> str:
        inner = found.group().replace("<dl>", '<dl role="list">')
        return inner.replace("<dd>", '<dd role="listitem">')

    return SIGNATURE.sub(listed, markup)


def navigation(markup: str) -> str:
    """The navigation, whose captions are headings of the second level."""
    return markup.replace('role="heading"', 'role="heading" aria-level="2"')


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Change what the template is filled with."""
    if "body" in context:
        context["body"] = body(context["body"])
    for name in ("furo_navigation_tree", "toc"):
        if isinstance(context.get(name), str):
            context[name] = navigation(context[name])


def setup(app: Sphinx) -> dict[str, Any]:
    """Mend every page as it is written."""
    app.connect("html-page-context", mend, priority=LAST)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
