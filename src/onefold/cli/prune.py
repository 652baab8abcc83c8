"""Make one network narrower: units that are needed least go, and the rest is refitted.

No labels are needed and nothing is trained. The result is a network of the same class, written with
its widths: `onefold.load_resized(factory, file)` reads it. Beside pruned.safetensors come
pruned.recipe.yaml and pruned.report.json.
"""

from __future__ import annotations

from typing import Any

from onefold.cli.command import RecipeCommand, names_of, show_scores
from onefold.cli.console import say
from onefold.recipe.prune.document import Recipe
from onefold.recipe.prune.run import make
from onefold.recipe.run import Made, Running


def tell(made: Made[Recipe, Any, Any]) -> str:
    """Print the verdict and the scores, then what is left."""
    report = made.result.report
    show_scores(made)
    say(report.text)
    seconds = sum(report.seconds.values())
    return (
        f"Pruned in {seconds:.1f} s into {made.files[-1]}, written with"
        f" {names_of(made.files[:-1])}."
    )


COMMAND = RecipeCommand(Recipe, Running, make, tell)
