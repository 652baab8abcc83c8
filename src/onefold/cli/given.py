"""What was given on a command line, looked at before anything slow is imported."""

from __future__ import annotations

from typing import Any

from onefold.documents.options import Option, needed
from onefold.documents.part import told_by
from onefold.errors import RecipeError

YAML = (".yaml", ".yml")


def recipe_file(content: dict[str, Any]) -> str | None:
    """The recipe's file, if one is given instead of members.

    Raises:
        RecipeError: a recipe stands beside members.
    """
    if "recipe" in content:
        return str(content["recipe"])
    members = content.get("members") or []
    recipes = [str(one) for one in members if str(one).endswith(YAML)]
    if recipes and len(members) > 1:
        raise RecipeError(
            f"A recipe says everything, so {recipes[0]} stands alone; leave the other files out."
        )
    return recipes[0] if recipes else None


def check_needed(options: list[Option], content: dict[str, Any], noun: str, command: str) -> None:
    """Check that nothing is left out that the document of the options cannot do without.

    Members that are folders of `save_pretrained` tell the network.

    Raises:
        RecipeError: an option is.
    """
    told = told_by(content.get("members")) is not None
    lacking = [one for one in needed(options, content) if one.keys != ("model",) or not told]
    if lacking:
        raise RecipeError(f"The {noun} needs --{lacking[0].name}; see `onefold {command} --help`.")
