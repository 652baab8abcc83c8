"""`onefold persist`: train rounds from one initialisation, each repelled from those before, by flags or by a recipe, and write all and the best."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onefold.cli.flags import given
from onefold.cli.training import asked_for, carried_out

REPELLING, TRAINING, VALIDATING, SCORING = "What repels", "How to train", "How to choose the best round", "How to score"


def persist(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Argument(help="A recipe (.yaml), instead of flags.", metavar="[RECIPE.yaml]")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The folder to write into.")] = None,
    model: Annotated[str | None, typer.Option(help="The architecture: a built-in, file.py:factory, timm:NAME or torchvision:NAME.")] = None,
    data: Annotated[str | None, typer.Option(help="Labelled data to train on: sklearn:digits, parquet:DIR, ...")] = None,
    split: Annotated[str | None, typer.Option(help="Its split: train (default) or test.")] = None,
    samples: Annotated[int | None, typer.Option(help="Take at most so many examples (default: all).")] = None,
    skip: Annotated[int | None, typer.Option(help="Leave out the first so many examples.")] = None,
    rounds: Annotated[int | None, typer.Option(help="How many rounds (default 4).")] = None,
    baselines: Annotated[bool | None, typer.Option("--baselines", help="Also train as many restarts, and reruns that nothing repels.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="all (default), first, head, last:N, or patterns; may be repeated.", rich_help_panel=REPELLING)
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="What matches is left out.", rich_help_panel=REPELLING)] = None,
    kernel: Annotated[str | None, typer.Option(help="gaussian (default), inverse, hinge, cosine or function.", rich_help_panel=REPELLING)] = None,
    strength: Annotated[
        float | None, typer.Option(help="Weight of the repulsion (default 1; 10 for a poor start).", rich_help_panel=REPELLING)
    ] = None,
    width: Annotated[float | None, typer.Option(help="Reach of the kernel (default 1, which is the start).", rich_help_panel=REPELLING)] = None,
    anneal: Annotated[
        tuple[float, float] | None, typer.Option(help="Fractions of a round between which it fades (default 0.5 0.75).", rich_help_panel=REPELLING)
    ] = None,
    memory: Annotated[int | None, typer.Option(help="Only so many of the last rounds repel (default: all).", rich_help_panel=REPELLING)] = None,
    control: Annotated[bool | None, typer.Option("--control", help="Random points repel: the uninformed control.", rich_help_panel=REPELLING)] = None,
    mirror: Annotated[bool | None, typer.Option("--mirror", help="The mirror image of the last round repels too.", rich_help_panel=REPELLING)] = None,
    reference: Annotated[
        int | None, typer.Option(help="Examples that the function kernel compares on (default 128).", rich_help_panel=REPELLING)
    ] = None,
    solutions: Annotated[
        str | None, typer.Option(help="Keep them in bfloat16, float16 or float32 while training.", rich_help_panel=REPELLING)
    ] = None,
    order: Annotated[str | None, typer.Option(help="Of the data in each round: same (default) or new.", rich_help_panel=TRAINING)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data in each round.", rich_help_panel=TRAINING)] = None,
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
    held_out: Annotated[float | None, typer.Option(help="Share of the training data to choose by (default 0.1).", rich_help_panel=VALIDATING)] = None,
    val_data: Annotated[str | None, typer.Option(help="Labelled data to choose by, instead.", rich_help_panel=VALIDATING)] = None,
    val_split: Annotated[str | None, typer.Option(help="Its split (default train).", rich_help_panel=VALIDATING)] = None,
    val_samples: Annotated[int | None, typer.Option(help="At most so many of its examples (default: all).", rich_help_panel=VALIDATING)] = None,
    val_skip: Annotated[int | None, typer.Option(help="Leave out the first so many of its examples.", rich_help_panel=VALIDATING)] = None,
    eval_data: Annotated[str | None, typer.Option(help="Labelled data to score on (default: --data).", rich_help_panel=SCORING)] = None,
    eval_split: Annotated[str | None, typer.Option(help="Its split (default test); given, scores are taken.", rich_help_panel=SCORING)] = None,
    eval_samples: Annotated[int | None, typer.Option(help="Score on at most so many examples (default: all).", rich_help_panel=SCORING)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was broken off in the folder, from its last epoch.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew in a folder that holds something.")] = False,
) -> None:
    """Train persistent rounds with lightning-fabric (the extra `train`): again and again from one start, away from the solutions found before.

    The folder then holds round-0.safetensors and so on, best.safetensors, recipe.yaml, report.json and report.html, which compares the rounds
    before and after alignment; while training, what was reached, for --resume. On a CPU a resumed run ends in the same bits.
    """
    from onefold.cli.console import say, show
    from onefold.recipe.persist import PersistRecipe

    flags: dict[str, Any] = {
        "model": model,
        "data": given(source=data, split=split, samples=samples, skip=skip, batch_size=batch_size),
        "rounds": given(
            number=rounds, scope=scope or None, exclude=exclude or None, kernel=kernel, strength=strength, width=width, anneal=anneal, memory=memory,
            control=control, mirror=mirror, order=order, solutions=solutions, reference=reference, baselines=baselines,
        ),
        "training": given(
            epochs=epochs, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay, warm_up=warm_up, augment=augment,
            precision=precision, devices=devices,
        ),
        "validation": given(source=val_data, split=val_split, samples=val_samples, skip=val_skip),
        "held_out": held_out,
        "evaluation": given(source=eval_data, split=eval_split, samples=eval_samples),
        "seed": seed,
        "device": device,
    }  # fmt: skip
    for part in ("validation", "evaluation"):
        if flags[part]:
            flags[part] = {**given(source=data), **flags[part]}
    asked = asked_for(PersistRecipe, recipe, flags, output, "Training rounds", "The run")

    from onefold.recipe.persist_run import make

    made = carried_out(make, asked, force=force, resume=resume, threads=context.obj)
    if made is None:
        return
    if made.scored is not None:
        show(made.scored.table)
        if made.scored.compared is not None:
            say(str(made.scored.compared))
    say(made.report.summary)
    say(f"The {made.recipe.rounds.number} rounds and the best of them were written to {made.folder}, with recipe.yaml and report.html.")
