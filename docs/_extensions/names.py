"""The directive `names`: the documentation of public names, one a line, from their docstrings.

    .. names::

        onefold.merge
        onefold.MergeResult

It chooses between the directives of autodoc by what a name is. `onefold.report.*` stands for every
name in the package's `__all__` that no line of the same directive names.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def kind_of(name: str) -> str:
    """Which directive of autodoc documents a name."""
    package, _, attribute = name.rpartition(".")
    value = getattr(importlib.import_module(package), attribute)
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if callable(value) and hasattr(value, "__code__") else "data"


def expanded(names: list[str]) -> list[str]:
    """The names, with those that a star stands for."""
    found: list[str] = []
    for name in names:
        package = name.removesuffix(".*")
        if package == name:
            found.append(name)
            continue
        own = {known.rpartition(".")[2] for known in names}
        public = importlib.import_module(package).__all__
        found += [f"{package}.{attribute}" for attribute in public if attribute not in own]
    return found


class Names(SphinxDirective):
    """Documentation of the names in the content."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse one directive of autodoc for each name."""
        found = expanded([line.strip() for line in self.content if line.strip()])
        lines = [line for name in found for line in self._lines(name)]
        container = nodes.container()
        self.state.nested_parse(StringList(lines, "names"), 0, container)
        return list(container.children)

    def _lines(self, name: str) -> Iterator[str]:
        kind = kind_of(name)
        yield f".. auto{kind}:: {name}"
        if kind == "class":
            yield "   :members:"
        yield ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("names", Names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
