"""`onefold subspace`: train a line, curve or simplex of networks, by flags or by a recipe, and
write its vertices and midpoint.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from onefold.cli import training_flags as flags
from onefold.cli.flags import given
from onefold.cli.training import asked_for, carried_out
from onefold.cli.training_flags import TRAINING

SHAPING = "What subspace"


def subspace(
    context: typer.Context,
    recipe: flags.Recipe = None,
    output: flags.Output = None,
    model: flags.Model = None,
    data: flags.Data = None,
    split: flags.Split = None,
    samples: Annotated[
        int | None, typer.Option(help="Train on at most so many examples (default: all).")
    ] = None,
    skip: flags.Skip = None,
    shape: Annotated[
        str | None, typer.Option(help="line, curve or simplex (default).", rich_help_panel=SHAPING)
    ] = None,
    vertices: Annotated[
        int | None,
        typer.Option(help="How many (default: 2 for a line, else 3).", rich_help_panel=SHAPING),
    ] = None,
    layerwise: Annotated[
        bool | None,
        typer.Option(help="Draw a point for every layer of its own.", rich_help_panel=SHAPING),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(help="Weight of the vertices' likeness (default 1).", rich_help_panel=SHAPING),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Only what matches differs; may be repeated.", rich_help_panel=SHAPING),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="What matches is shared by all points.", rich_help_panel=SHAPING),
    ] = None,
    draws: Annotated[
        str | None,
        typer.Option(
            help='Points of the processes: "shared" (default) or "per rank".',
            rich_help_panel=SHAPING,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data.", rich_help_panel=TRAINING)
    ] = None,
    batch_size: flags.BatchSize = None,
    lr: flags.LearningRate = None,
    momentum: flags.Momentum = None,
    weight_decay: flags.WeightDecay = None,
    warm_up: flags.WarmUp = None,
    augment: flags.Augment = None,
    precision: flags.Precision = None,
    devices: flags.Devices = None,
    seed: flags.Seed = None,
    device: flags.Device = None,
    eval_data: flags.EvalData = None,
    eval_split: flags.EvalSplit = None,
    eval_samples: flags.EvalSamples = None,
    resume: flags.Resume = False,
    force: flags.Force = False,
) -> None:
    """Train a subspace of networks in one run, with lightning-fabric (the extra `train`).

    The folder then holds vertex-0.safetensors and so on, midpoint.safetensors, recipe.yaml,
    report.json and report.html; while training, what was reached, for --resume. On a CPU a resumed
    run ends in the same bits. The processes of --devices are started by the command itself, on one
    machine and without torchrun.
    """
    from onefold.cli.console import say, show
    from onefold.recipe.subspace.document import SubspaceRecipe

    wanted: dict[str, Any] = {
        "model": model,
        "data": given(source=data, split=split, samples=samples, skip=skip, batch_size=batch_size),
        "subspace": given(
            shape=shape,
            vertices=vertices,
            layerwise=layerwise,
            beta=beta,
            include=include or None,
            exclude=exclude or None,
            draws=draws,
        ),
        "training": given(
            epochs=epochs,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            warm_up=warm_up,
            augment=augment,
            precision=precision,
            devices=devices,
        ),
        "evaluation": given(source=eval_data, split=eval_split, samples=eval_samples),
        "seed": seed,
        "device": device,
    }
    if wanted["evaluation"]:
        wanted["evaluation"] = {**given(source=data), **wanted["evaluation"]}
    asked = asked_for(SubspaceRecipe, recipe, wanted, output, "Training a subspace", "The subspace")

    from onefold.recipe.subspace.run import make

    made = carried_out(make, asked, force=force, resume=resume, threads=context.obj)
    if made is None:
        return
    if made.scored is not None:
        show(made.scored.table)
    say(made.report.summary)
    say(
        f"The vertices and the midpoint of the {made.recipe.subspace.shape} were written to"
        f" {made.folder}, with recipe.yaml and report.html."
    )
