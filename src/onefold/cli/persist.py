"""Train persistent rounds with lightning-fabric (extra `train`).

Every round begins from the same start, away from the solutions found before. The folder then holds
round-0.safetensors and so on, best.safetensors, recipe.yaml, report.json and report.html, which
compares the rounds before and after alignment; while training, a checkpoint for --resume. On a CPU
a resumed run ends in the same bits.
"""

from __future__ import annotations

from typing import Any

from onefold.cli.command import RecipeCommand, show_scores
from onefold.cli.console import say
from onefold.recipe.persist.document import PersistRecipe
from onefold.recipe.persist.run import make
from onefold.recipe.run import Made
from onefold.recipe.training.run import TrainRunning


def tell(made: Made[PersistRecipe, Any, Any]) -> str:
    """Print the scores, and the rounds compared."""
    show_scores(made)
    if made.scored is not None and made.scored.compared is not None:
        say(str(made.scored.compared))
    return (
        f"All rounds and the best of them were written to {made.files[0].parent}, with recipe.yaml"
        " and report.html."
    )


COMMAND = RecipeCommand(PersistRecipe, TrainRunning, make, tell)
