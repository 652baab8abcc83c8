"""What typer refuses of a command line, as one sentence of ours."""

from __future__ import annotations

import re
from typing import Any

import typer

from onefold.errors import nearest

# Some versions of typer bring the classes of click along, others import them.
PLAIN = {  # what typer's own parser says of a value -> what it takes
    r"Input should be a valid integer.*": "it takes a whole number",
    r"Input should be a valid number.*": "it takes a number",
    r"Input should be a valid boolean.*": "it takes true or false",
    r"Input should be (greater|less) than (or equal to )?": r"it must be \1 than \2",
}
WrongUsage: Any = typer.BadParameter.__mro__[1]


def sentence(problem: Any) -> str:
    """What is wrong with the arguments, and what to do.

    Args:
        problem: an error of the class `WrongUsage`.
    """
    context = getattr(problem, "ctx", None)
    path = context.command_path if context is not None else "onefold"
    see = f"see `{path} --help`."
    option = str(getattr(problem, "option_name", ""))
    kind = type(problem).__name__
    if kind == "NoSuchOption" and context is not None:
        return f"There is no option {option} of {path}; {nearest(option, _options(context), see)}"
    if kind == "BadOptionUsage":
        return f"The option {option} takes a value; {see}"
    text = " ".join(str(problem.format_message()).split()).rstrip(".")
    for form, plain in PLAIN.items():
        text = re.sub(form, plain, text)
    return f"{text[:1].upper()}{text[1:]}; {see}"


def _options(context: Any) -> list[str]:
    return [name for one in context.command.params for name in (*one.opts, *one.secondary_opts)]
