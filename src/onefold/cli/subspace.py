"""Train a line, curve or simplex of networks in one run, with lightning-fabric (extra `train`).

The folder then holds vertex-0.safetensors and so on, midpoint.safetensors, recipe.yaml, report.json
and report.html; while training, a checkpoint for --resume. On a CPU a resumed run ends in the same
bits. The processes of --devices are started by the command itself, on one machine and without
torchrun.
"""

from __future__ import annotations

from typing import Any

from onefold.cli.command import RecipeCommand, show_scores
from onefold.cli.console import say
from onefold.recipe.run import Made
from onefold.recipe.subspace.document import SubspaceRecipe
from onefold.recipe.subspace.run import make
from onefold.recipe.training.run import TrainRunning


def tell(made: Made[SubspaceRecipe, Any, Any]) -> str:
    """Print the scores, or why there are none."""
    show_scores(made)
    if made.scored is None:
        say(made.report.summary)
    return (
        f"The vertices and the midpoint of the {made.recipe.subspace.shape} were written to"
        f" {made.files[0].parent}, with recipe.yaml and report.html."
    )


COMMAND = RecipeCommand(SubspaceRecipe, TrainRunning, make, tell)
