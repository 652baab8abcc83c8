"""Learn which members, modules or layers to keep, and fold them by these gates.

Bad members are found and left out. Beside soft.safetensors come soft.recipe.yaml and
soft.report.json.
"""

from __future__ import annotations

from onefold.cli.command import RecipeCommand, show_scores
from onefold.cli.console import paragraph, say, table
from onefold.fold import SoftResult
from onefold.recipe.run import Made, Running
from onefold.recipe.soft.document import SoftRecipe
from onefold.recipe.soft.run import make
from onefold.result_reports.soft_merges import SoftScored, choice_table


def tell(made: Made[SoftRecipe, SoftResult, SoftScored]) -> str:
    """Print the scores, what became of the members, the choice and the gates."""
    result = made.result
    show_scores(made)
    for k, fate in result.gates.fates().items():
        paragraph(f"member {k}: {fate}")
    if result.scores:
        paragraph(result.decision)
        choices = choice_table(result)
        say(choices.caption + ":")
        table(choices)
    say("The gates:")
    table(result.gates.table())
    names = ", ".join(path.name for path in made.files[:-1])
    return (
        f"The {result.choice} network of {len(made.recipe.members)} members was written to"
        f" {made.files[-1]}, with {names}."
    )


COMMAND = RecipeCommand(SoftRecipe, Running, make, tell)
