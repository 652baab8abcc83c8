"""`onefold subspace`: train a line, curve or simplex of networks, by flags or by a recipe, and write its vertices and midpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onefold.cli.flags import given
from onefold.cli.training import asked_for, carried_out

SHAPING, TRAINING, SCORING = "What subspace", "How to train", "How to score"


def subspace(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Argument(help="A recipe (.yaml), instead of flags.", metavar="[RECIPE.yaml]")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The folder to write into.")] = None,
    model: Annotated[str | None, typer.Option(help="The architecture: a built-in, file.py:factory, timm:NAME or torchvision:NAME.")] = None,
    data: Annotated[str | None, typer.Option(help="Labelled data to train on: sklearn:digits, parquet:DIR, ...")] = None,
    split: Annotated[str | None, typer.Option(help="Its split: train (default) or test.")] = None,
    samples: Annotated[int | None, typer.Option(help="Train on at most so many examples (default: all).")] = None,
    skip: Annotated[int | None, typer.Option(help="Leave out the first so many examples.")] = None,
    shape: Annotated[str | None, typer.Option(help="line, curve or simplex (default).", rich_help_panel=SHAPING)] = None,
    vertices: Annotated[int | None, typer.Option(help="How many (default: 2 for a line, else 3).", rich_help_panel=SHAPING)] = None,
    layerwise: Annotated[bool | None, typer.Option(help="Draw a point for every layer of its own.", rich_help_panel=SHAPING)] = None,
    beta: Annotated[float | None, typer.Option(help="Weight of the vertices' likeness (default 1).", rich_help_panel=SHAPING)] = None,
    include: Annotated[list[str] | None, typer.Option(help="Only what matches differs; may be repeated.", rich_help_panel=SHAPING)] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="What matches is shared by all points.", rich_help_panel=SHAPING)] = None,
    draws: Annotated[str | None, typer.Option(help='Points of the processes: "shared" (default) or "per rank".', rich_help_panel=SHAPING)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.", rich_help_panel=TRAINING)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples in a step (default 128).", rich_help_panel=TRAINING)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest (default 0.1).", rich_help_panel=TRAINING)] = None,
    momentum: Annotated[float | None, typer.Option(help="Of SGD (default 0.9).", rich_help_panel=TRAINING)] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Default 0.0001.", rich_help_panel=TRAINING)] = None,
    warm_up: Annotated[
        float | None, typer.Option(help="Epochs in which the rate rises (default: a tenth, at most 5).", rich_help_panel=TRAINING)
    ] = None,
    augment: Annotated[str | None, typer.Option(help="none (default), or flip-crop for images.", rich_help_panel=TRAINING)] = None,
    precision: Annotated[
        str | None, typer.Option(help="32-true (default), bf16-mixed, 16-mixed, bf16-true or 64-true.", rich_help_panel=TRAINING)
    ] = None,
    devices: Annotated[int | None, typer.Option(help="Processes, one on each device (default 1).", rich_help_panel=TRAINING)] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random (default 0).")] = None,
    device: Annotated[str | None, typer.Option(help="cpu (default), cuda, cuda:N, or auto: cuda where there is one.")] = None,
    eval_data: Annotated[str | None, typer.Option(help="Labelled data to score on (default: --data).", rich_help_panel=SCORING)] = None,
    eval_split: Annotated[str | None, typer.Option(help="Its split (default test); given, scores are taken.", rich_help_panel=SCORING)] = None,
    eval_samples: Annotated[int | None, typer.Option(help="Score on at most so many examples (default: all).", rich_help_panel=SCORING)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was broken off in the folder, from its last epoch.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew in a folder that holds something.")] = False,
) -> None:
    """Train a subspace of networks in one run, with lightning-fabric (the extra `train`).

    The folder then holds vertex-0.safetensors and so on, midpoint.safetensors, recipe.yaml, report.json and report.html; while training,
    what was reached, for --resume. On a CPU a resumed run ends in the same bits. The processes of --devices are started by the command
    itself, on one machine and without torchrun.
    """
    from onefold.cli.console import say, show
    from onefold.recipe.subspace import SubspaceRecipe

    flags: dict[str, Any] = {
        "model": model,
        "data": given(source=data, split=split, samples=samples, skip=skip, batch_size=batch_size),
        "subspace": given(
            shape=shape, vertices=vertices, layerwise=layerwise, beta=beta, include=include or None, exclude=exclude or None, draws=draws
        ),
        "training": given(
            epochs=epochs, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay, warm_up=warm_up, augment=augment,
            precision=precision, devices=devices,
        ),
        "evaluation": given(source=eval_data, split=eval_split, samples=eval_samples),
        "seed": seed,
        "device": device,
    }  # fmt: skip
    if flags["evaluation"]:
        flags["evaluation"] = {**given(source=data), **flags["evaluation"]}
    asked = asked_for(SubspaceRecipe, recipe, flags, output, "Training a subspace", "The subspace")

    from onefold.recipe.subspace_run import make

    made = carried_out(make, asked, force=force, resume=resume, threads=context.obj)
    if made is None:
        return
    if made.scored is not None:
        show(made.scored.table)
    say(made.report.summary)
    say(f"The vertices and the midpoint of the {made.recipe.subspace.shape} were written to {made.folder}, with recipe.yaml and report.html.")
