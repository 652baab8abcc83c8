"""What the commands that train share: from flags or a recipe to what is asked for, and carrying it
out so that nothing reached is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from onefold.errors import RecipeError

if TYPE_CHECKING:
    from onefold.recipe.training.document import TrainedRecipe
    from onefold.recipe.training.run import Trained

    R = TypeVar("R", bound=TrainedRecipe)
    S = TypeVar("S")


def asked_for(
    kind: type[R],
    recipe: str | None,
    flags: Mapping[str, Any],
    output: Path | None,
    doing: str,
    what: str,
) -> R:
    """The recipe in the file `recipe`, or the one that the flags make, with absolute paths.

    Raises:
        RecipeError: both are given, a flag that is needed is missing, or it is no valid recipe.
            doing, what: the run in the words of the messages.
    """
    from onefold.recipe.reading import absolute, check_as, read_as

    flags = {key: value for key, value in flags.items() if value not in (None, {})}
    if recipe is not None:
        if flags:
            raise RecipeError(
                "A recipe says everything, so it takes no other option; edit a copy of it, or give"
                " -o, --resume and --force only."
            )
        asked = read_as(kind, recipe)
    else:
        given = {
            "--model": flags.get("model"),
            "--data": flags.get("data", {}).get("source"),
            "--epochs": flags.get("training", {}).get("epochs"),
            "--output": output,
        }
        for name, value in given.items():
            if value is None:
                raise RecipeError(
                    f"{doing} by flags needs {name}; see `onefold {kind.command} --help`."
                )
        asked = absolute(check_as(kind, flags, what))
    return asked if output is None else asked.model_copy(update={"output": str(output.absolute())})


def carried_out(
    make: Callable[..., Trained[R, S]], asked: R, *, force: bool, resume: bool, threads: int | None
) -> Trained[R, S] | None:
    """What `make` made of the recipe, its warnings told; None where the run had come to its end
    before, which is told too.
    """
    from onefold.cli.console import note, say, warn

    try:
        made = make(asked, force=force, resume=resume, threads=threads, tell=note)
    except KeyboardInterrupt:
        note(
            "What was reached after the last whole epoch is kept; the same command with --resume"
            " goes on from there."
        )
        raise
    if made.finished_before:
        say(f"The run in {made.folder} came to its end before; nothing is left to do.")
        return None
    for warning in made.warnings:
        warn(warning)
    return made
