"""Train two small networks that see different digits, fold them in several ways, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The folder to write members, fold, recipe and report to."
        ),
    ] = Path("onefold-demo"),
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="The seed of everything random.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the folder if it exists.")
    ] = False,
) -> None:
    """Run the demo and print its table."""
    from onefold.cli.console import note, say, show, verdict
    from onefold.demo.run import run
    from onefold.result_reports.scored import CAPTION

    outcome = run(output, seed=seed, force=force, tell=note)
    verdict(outcome.verdict)
    show(outcome.table, told=CAPTION, more=True)
    say(
        f"Done in {outcome.seconds:.0f} s. Open {output / 'report.html'}, or make the fold again,"
        " bit for bit, with:"
    )
    say(f"onefold merge {output / 'folded.recipe.yaml'} -o again.safetensors")
