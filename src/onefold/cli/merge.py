"""Fold checkpoints of one architecture into one, and write the recipe that makes it again.

Beside folded.safetensors come folded.recipe.yaml and folded.report.json. Members that are folders
of transformers become such a folder, with recipe.yaml and report.json in it. Folders of fine-tunes
of one base are merged without a network and data by --method, or by a document of mergekit's:
`onefold merge --method ties --help`.
"""

from __future__ import annotations

from typing import Any

from onefold.cli.command import RecipeCommand, names_of, show_scores
from onefold.cli.console import paragraph, say
from onefold.recipe.merge.document import Recipe
from onefold.recipe.merge.run import MergeRunning, make
from onefold.recipe.run import Made


def tell(made: Made[Recipe, Any, Any]) -> str:
    """Print the verdict and the scores, then what was chosen, and the barriers."""
    report = made.result.report
    show_scores(made)
    for sentence in report.chosen:
        paragraph(sentence)
    if made.scored is not None:
        for name, path in made.scored.paths.items():
            say(f"{name}: {path}")
    if partial := report.folded.get("partial"):
        say(partial["text"])
    count, seconds = len(made.recipe.members), sum(report.seconds.values())
    return (
        f"Folded {count} members in {seconds:.1f} s into {made.files[-1]}, written with"
        f" {names_of(made.files[:-1])}."
    )


COMMAND = RecipeCommand(Recipe, MergeRunning, make, tell)
