"""`onefold soft`: learn gates over checkpoints, by flags or by a recipe, and write what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onefold.cli.flags import given, selected
from onefold.errors import RecipeError

GATING, LEARNING, SCORING = "What to gate", "How to learn", "How to score"


def soft(
    context: typer.Context,
    members: Annotated[
        list[str],
        typer.Argument(
            help="Two or more checkpoints, or one recipe (.yaml).",
            metavar="MEMBERS... | RECIPE.yaml",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The checkpoint to write (.safetensors).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help=(
                "The architecture: a built-in, file.py:factory, timm:, torchvision:NAME, hf:FOLDER."
            )
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled data that no member was trained on: sklearn:digits, parquet:DIR, ..."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Its split: train (default) or test.")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Use at most so many labelled examples (default 500).")
    ] = None,
    skip: Annotated[int | None, typer.Option(help="Leave out the first so many examples.")] = None,
    held_out: Annotated[
        int | None,
        typer.Option(help="Choose on so many examples after those (default: on a share of them)."),
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="model, module or layer (default).", rich_help_panel=GATING)
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Gate only what matches; may be repeated.", rich_help_panel=GATING),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Leave what matches as in the reference.", rich_help_panel=GATING),
    ] = None,
    align: Annotated[
        str | None, typer.Option(help="auto (default), none, or a matcher.", rich_help_panel=GATING)
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="A member's number, or best (default).", rich_help_panel=GATING),
    ] = None,
    normalise: Annotated[
        bool | None,
        typer.Option(help="Divide gates by their sum (default).", rich_help_panel=GATING),
    ] = None,
    screen: Annotated[
        bool | None, typer.Option(help="Leave out unfit members (default).", rich_help_panel=GATING)
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(
            help="At model level: sum logits (default) or probabilities.", rich_help_panel=GATING
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of training (default 300).", rich_help_panel=LEARNING)
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Of Adam (default 0.1).", rich_help_panel=LEARNING)
    ] = None,
    penalty: Annotated[
        float | None,
        typer.Option(help="Weight of the gates' penalty (default 0.01).", rich_help_panel=LEARNING),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples in a step (default 128).", rich_help_panel=LEARNING)
    ] = None,
    fallback: Annotated[
        bool | None,
        typer.Option(help="Return the best member or the aligned average where better (default)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random (default 0).")] = None,
    device: Annotated[str | None, typer.Option(help="cpu (default), cuda or cuda:N.")] = None,
    eval_data: Annotated[
        str | None,
        typer.Option(help="Labelled data to score on (default: --data).", rich_help_panel=SCORING),
    ] = None,
    eval_split: Annotated[
        str | None,
        typer.Option(
            help="Its split (default test); given, scores are taken.", rich_help_panel=SCORING
        ),
    ] = None,
    eval_samples: Annotated[
        int | None,
        typer.Option(
            help="Score on at most so many examples (default: all).", rich_help_panel=SCORING
        ),
    ] = None,
    network_output: Annotated[
        str | None,
        typer.Option(
            help="Which output is scored, a name or an index, where networks return several.",
            rich_help_panel=SCORING,
        ),
    ] = None,
    class_axis: Annotated[
        int | None,
        typer.Option(
            help="The axis of its classes (1 or -1), if labels do not tell.",
            rich_help_panel=SCORING,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Also write a report to read (.html).", rich_help_panel=SCORING),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")] = False,
) -> None:
    """Learn which members, modules or layers to keep, and fold them by these gates; bad members are
    found and left out.

    Beside soft.safetensors come soft.recipe.yaml and soft.report.json.
    """
    from onefold.cli.console import note, say, show, table, warn
    from onefold.recipe.reading import absolute, check_as, read_as
    from onefold.recipe.soft.document import SoftRecipe

    part = given(source=data, split=split, samples=samples, skip=skip)
    flags: dict[str, Any] = {
        "model": model,
        "data": part,
        "held_out": {},
        "soft": given(
            level=level,
            include=include or None,
            exclude=exclude or None,
            align=align,
            reference=_reference(reference),
            normalise=normalise,
            screen=screen,
            outputs=outputs,
            steps=steps,
            lr=lr,
            penalty=penalty,
            batch_size=batch_size,
            fallback=fallback,
        ),
        "evaluation": given(source=eval_data, split=eval_split, samples=eval_samples),
        "network_output": given(select=selected(network_output), class_axis=class_axis),
        "seed": seed,
        "device": device,
    }
    if held_out is not None:
        flags["held_out"] = {**part, "samples": held_out, "skip": (skip or 0) + (samples or 500)}
    if flags["evaluation"]:
        flags["evaluation"] = {**given(source=data), **flags["evaluation"]}
    flags = {key: value for key, value in flags.items() if value not in (None, {})}
    if len(members) == 1 and members[0].endswith((".yaml", ".yml")):
        if flags:
            raise RecipeError(
                "A recipe says everything, so it takes no other option; edit a copy of it, or give"
                " -o, --report and --force only."
            )
        recipe = read_as(SoftRecipe, members[0])
    else:
        for name, value in (("--model", model), ("--data", data), ("--output", output)):
            if value is None:
                raise RecipeError(f"A soft merge by flags needs {name}; see `onefold soft --help`.")
        recipe = absolute(
            check_as(SoftRecipe, {"soft": {}, **flags, "members": members}, "The soft merge")
        )
    if output is not None:
        recipe = recipe.model_copy(update={"output": str(output.absolute()), "html": None})
    if report is not None:
        recipe = recipe.model_copy(update={"html": str(report.absolute())})

    from onefold.recipe.soft.report import choice_table
    from onefold.recipe.soft.run import make

    made = make(recipe, force=force, threads=context.obj, tell=note)
    for warning in made.warnings:
        warn(warning)
    gates = made.result.gates.table()
    table(gates.headings, gates.plain())
    for k, what in made.result.gates.fates().items():
        say(f"member {k}: {what}")
    if made.result.scores:
        choices = choice_table(made.result)
        say(choices.caption + ":")
        table(choices.headings, choices.plain())
        say(made.result.decision)
    if made.scored is not None:
        show(made.scored.table)
        if made.scored.classes:
            say(f"Classes: {made.scored.classes}")
        say(made.scored.verdict)
    names = ", ".join(path.name for path in made.files.all()[:-1])
    say(
        f"The {made.result.choice} network of {len(recipe.members)} members was written to"
        f" {made.files.result}, with {names}."
    )


def _reference(text: str | None) -> int | str | None:
    if text is None or text == "best":
        return text
    try:
        return int(text)
    except ValueError:
        raise RecipeError(f"--reference takes a member's number or 'best', not '{text}'.") from None
