"""Learn which members, modules or layers to keep, and fold them by these gates.

Bad members are found and left out. Beside soft.safetensors come soft.recipe.yaml and
soft.report.json.
"""

from __future__ import annotations

from onefold.cli.command import RecipeCommand, show_scores
from onefold.cli.console import say, table
from onefold.fold import SoftResult
from onefold.recipe.run import Made, Running
from onefold.recipe.soft.document import SoftRecipe
from onefold.recipe.soft.run import make
from onefold.result_reports.soft_merges import SoftScored, choice_table


def tell(made: Made[SoftRecipe, SoftResult, SoftScored]) -> str:
    """Print the gates, the choice and the scores."""
    result = made.result
    table(result.gates.table())
    for k, fate in result.gates.fates().items():
        say(f"member {k}: {fate}")
    if result.scores:
        choices = choice_table(result)
        say(choices.caption + ":")
        table(choices)
        say(result.decision)
    show_scores(made)
    if made.scored is not None:
        say(made.scored.verdict)
    names = ", ".join(path.name for path in made.files[:-1])
    return (
        f"The {result.choice} network of {len(made.recipe.members)} members was written to"
        f" {made.files[-1]}, with {names}."
    )


COMMAND = RecipeCommand(SoftRecipe, Running, make, tell)
