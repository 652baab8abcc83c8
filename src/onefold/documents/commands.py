"""The commands of typer's that the options of a document make."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from onefold.documents.options import Option, typed_by
from onefold.printable import printable


def command_of(
    name: str, text: str, options: list[Option], call: Callable[[Any, dict[str, Any]], None]
) -> Any:
    """A command of typer's with these options, which calls `call(context, values)`."""

    def body(context: typer.Context, **given: Any) -> None:
        call(context, given)

    parameters = [parameter_of(option) for option in options]
    parameters.sort(key=lambda one: one.default is None)  # required arguments first
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    body.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    body.__annotations__ = {one.name: one.annotation for one in [context, *parameters]}
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command(name, help=as_it_is(text))(body)
    return typer.main.get_command(app)


def parameter_of(option: Option) -> inspect.Parameter:
    """An option as typer reads it off a function."""
    kind, spelled = typed_by(option.annotation), f"--{option.name}"
    settings: dict[str, Any] = {"help": as_it_is(option.help)}
    if option.flag.metavar is not None:
        settings |= {"metavar": option.flag.metavar}
        many = kind == list[str]
        annotation: Any = Annotated[kind if many else str | None, typer.Argument(**settings)]
        default = inspect.Parameter.empty if many else None
    else:
        if kind is bool and option.default is True:
            spelled += f"/--no-{option.name}"
        names = [spelled, *([option.flag.short] if option.flag.short else [])]
        settings |= {"rich_help_panel": option.flag.panel or None}
        if option.choices and not option.names:
            settings |= {"metavar": "|".join(option.choices)}
        if option.choices:
            settings |= {"autocompletion": _completion(option.choices)}
        annotation, default = Annotated[kind | None, typer.Option(*names, **settings)], None
    return inspect.Parameter(
        option.variable, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def as_it_is(text: str) -> str:
    """A text for the help, where rich takes brackets for styles and :names: for pictures.

    Docstrings of a user's own methods are among these texts.
    """
    from rich.markup import escape

    return re.sub(r":(?=\S+?:)", ":[none][/none]", escape(printable(text, lines=True)))


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    """What a shell offers for the beginning of a value."""
    return lambda incomplete: [name for name in choices if name.startswith(incomplete)]
