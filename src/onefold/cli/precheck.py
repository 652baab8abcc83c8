"""A command line is checked against the catalogue, before the command is imported.

What is found here is what the command would find after the seconds that its imports take, in the
same words. What is not found here, the command finds: it checks everything again.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_origin

from pydantic import BeforeValidator, Field, ValidationError, create_model

from onefold.cli.catalogue import Known
from onefold.cli.given import check_needed, recipe_file
from onefold.documents.commands import command_of
from onefold.documents.options import Option, nested, source_of
from onefold.documents.part import Part
from onefold.documents.problems import WrongKey, problem_of
from onefold.errors import RecipeError, WeightsError, nearest


def checking_command(known: Known) -> Any:
    """The command of typer's that shows the help of a command, or checks what is given to it."""

    def call(_: Any, given: dict[str, Any]) -> None:
        check(known, given)

    return command_of(known.name, known.text, list(known.options), call)


def check(known: Known, given: Mapping[str, Any]) -> None:
    """Check the values of options.

    Args:
        known: the command.
        given: the values by the variables of the options.

    Raises:
        RecipeError: an option lacks, a choice or a number is none that there is, or a recipe does
            not exist. WeightsError: another file does not exist.
    """
    options = list(known.options)
    content = nested(options, given)
    file = recipe_file(content)
    if file is not None:
        if not os.path.exists(file):
            raise RecipeError(
                f"The recipe {file} cannot be read: No such file or directory; check the path."
            )
        return
    check_needed(options, content, known.noun, known.name)
    _check_values(known, given)
    for option in options:
        if option.is_file and option.name != "use":
            value = given.get(option.variable) or []
            for path in [value] if isinstance(value, str) else value:
                _check_file(path)


def _check_values(known: Known, given: Mapping[str, Any]) -> None:
    """Raises RecipeError for a number beyond its limits, or a name that there is not."""
    checked = {one.variable: one for one in known.options if one.limits or one.choices}
    fields: dict[str, Any] = {name: (_annotation(one), None) for name, one in checked.items()}
    kind = create_model("Given", __base__=Part, **fields)
    content = {name: given[name] for name in checked if given.get(name) is not None}
    try:
        kind.model_validate(content)
    except ValidationError as error:
        wrong = problem_of(error, kind)
        option = checked[str(wrong.keys[0])]
        source = source_of(f"The {known.noun}", list(known.options))
        raise source.error(dataclasses.replace(wrong, keys=option.keys)) from None


def _annotation(option: Option) -> Any:
    if option.names:
        return Annotated[Any, BeforeValidator(_named(option))]
    if get_origin(option.annotation) is Literal or option.annotation in (int, float):
        limits: Any = option.limits
        return Annotated[option.annotation, Field(**limits)]
    return Any


def _named(option: Option) -> Callable[[Any], Any]:
    def check(name: Any) -> Any:
        if name not in option.names:
            near = nearest(name, option.names)
            raise WrongKey((), f"there is no {option.family} named {name[:60]!r}; {near}")
        return name

    return check


def _check_file(path: str) -> None:
    """Raises WeightsError if there is no such file, as the command says it."""
    whole = os.path.abspath(os.path.expanduser(path))
    try:
        os.stat(whole)
    except OSError as error:
        raise WeightsError(f"{whole} cannot be read ({error.strerror}); check the path.") from error
    except ValueError:
        return  # no path at all, which the command says
