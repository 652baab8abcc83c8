"""Single backticks in a docstring: a link if a documented name stands there, else code.

Docstrings use Markdown's backticks for both. reStructuredText leaves the meaning of single
backticks to the default role, which is this one.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils import unescape
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.util.docutils import SphinxRole

NAME = re.compile(r"~?[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")


class NameOrCode(SphinxRole):
    """The default role."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A reference that may stay unresolved, or a literal."""
        text = unescape(self.text)
        if NAME.fullmatch(text):
            name = self.text.removesuffix("()")
            role: Any = PyXRefRole()
            return role("py:obj", self.rawtext, name, self.lineno, self.inliner)
        return [nodes.literal(self.rawtext, text, classes=["code"])], []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role."""
    app.add_role("name_or_code", NameOrCode())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
