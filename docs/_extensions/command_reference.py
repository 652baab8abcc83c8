"""The directive `commands`: every command of the program, with every option and its help.

It reads the commands that the program itself runs, so that nothing is typed twice.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

MARKUP = re.compile(r"\[/?(bold|dim|cyan|green|yellow|red|required)[a-z ]*\]")
VALUE = re.compile(r"<([a-z]+(?:\[[a-z]+\])?)(?: range)?>")


def commands() -> Iterator[tuple[str, Any]]:
    """The name and the built command of each, in the order of the program's help."""
    import typer.main

    from onefold.cli import COMMANDS, app

    group: Any = typer.main.get_command(app)
    context = group.context_class(group)
    for name in COMMANDS:
        yield name, group.resolve_command(context, [name])[1]


def lines_of(name: str, command: Any) -> Iterator[str]:
    """The section of a command in reStructuredText."""
    context = command.context_class(command, info_name=f"onefold {name}")
    pieces = command.collect_usage_pieces(context)
    yield from ("", f".. _onefold-{name}:", "", name, "~" * len(name), "")
    yield from ("::", "", "    " + " ".join(["onefold", name, *pieces]), "")
    yield from (escaped(line) for line in inspect.cleandoc(command.help or "").splitlines())
    yield ""
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None or parameter.name == "help":
            continue
        signature, text = record
        yield f"``{VALUE.sub(value, signature)}``"
        yield f"    {escaped(' '.join(text.split())) or 'See the words above.'}"
        yield ""


def value(found: re.Match[str]) -> str:
    """What an option takes, in the words of the field rather than in Python's."""
    words = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER"}
    many = found.group(1).startswith("list[")
    kind = found.group(1).removeprefix("list[").removesuffix("]")
    return words.get(kind, kind.upper()) + (" ..." if many else "")


def escaped(text: str) -> str:
    """Help as reStructuredText: rich's markup left out, stars and bars outside of code as such."""
    parts = MARKUP.sub("", text).split("`")
    if len(parts) % 2 == 0:
        parts = ["\\`".join(parts)]
    parts[::2] = [re.sub(r"([*|]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


class Commands(SphinxDirective):
    """All commands, each a section."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Parse the sections."""
        lines = [line for name, command in commands() for line in lines_of(name, command)]
        container = nodes.section()
        container.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, "commands"), container)
        return list(container.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
