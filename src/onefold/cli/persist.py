"""`onefold persist`: train rounds from one initialisation, each repelled from those before, by
flags or by a recipe, and write all and the best.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from onefold.cli import training_flags as flags
from onefold.cli.flags import given
from onefold.cli.training import asked_for, carried_out
from onefold.cli.training_flags import TRAINING

REPELLING, VALIDATING = "What repels", "How to choose the best round"


def persist(
    context: typer.Context,
    recipe: flags.Recipe = None,
    output: flags.Output = None,
    model: flags.Model = None,
    data: flags.Data = None,
    split: flags.Split = None,
    samples: Annotated[
        int | None, typer.Option(help="Take at most so many examples (default: all).")
    ] = None,
    skip: flags.Skip = None,
    rounds: Annotated[int | None, typer.Option(help="How many rounds (default 4).")] = None,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines", help="Also train as many restarts, and reruns that nothing repels."
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="all (default), first, head, last:N, or patterns; may be repeated.",
            rich_help_panel=REPELLING,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="What matches is left out.", rich_help_panel=REPELLING)
    ] = None,
    kernel: Annotated[
        str | None,
        typer.Option(
            help="gaussian (default), inverse, hinge, cosine or function.",
            rich_help_panel=REPELLING,
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            help="Weight of the repulsion (default 1; 10 for a poor start).",
            rich_help_panel=REPELLING,
        ),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(
            help="Reach of the kernel (default 1, which is the start).", rich_help_panel=REPELLING
        ),
    ] = None,
    anneal: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Fractions of a round between which it fades (default 0.5 0.75).",
            rich_help_panel=REPELLING,
        ),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            help="Only so many of the last rounds repel (default: all).", rich_help_panel=REPELLING
        ),
    ] = None,
    control: Annotated[
        bool | None,
        typer.Option(
            "--control",
            help="Random points repel: the uninformed control.",
            rich_help_panel=REPELLING,
        ),
    ] = None,
    mirror: Annotated[
        bool | None,
        typer.Option(
            "--mirror",
            help="The mirror image of the last round repels too.",
            rich_help_panel=REPELLING,
        ),
    ] = None,
    reference: Annotated[
        int | None,
        typer.Option(
            help="Examples that the function kernel compares on (default 128).",
            rich_help_panel=REPELLING,
        ),
    ] = None,
    solutions: Annotated[
        str | None,
        typer.Option(
            help="Keep them in bfloat16, float16 or float32 while training.",
            rich_help_panel=REPELLING,
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            help="Of the data in each round: same (default) or new.", rich_help_panel=TRAINING
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the data in each round.", rich_help_panel=TRAINING),
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
    held_out: Annotated[
        float | None,
        typer.Option(
            help="Share of the training data to choose by (default 0.1).",
            rich_help_panel=VALIDATING,
        ),
    ] = None,
    val_data: Annotated[
        str | None,
        typer.Option(help="Labelled data to choose by, instead.", rich_help_panel=VALIDATING),
    ] = None,
    val_split: Annotated[
        str | None, typer.Option(help="Its split (default train).", rich_help_panel=VALIDATING)
    ] = None,
    val_samples: Annotated[
        int | None,
        typer.Option(
            help="At most so many of its examples (default: all).", rich_help_panel=VALIDATING
        ),
    ] = None,
    val_skip: Annotated[
        int | None,
        typer.Option(
            help="Leave out the first so many of its examples.", rich_help_panel=VALIDATING
        ),
    ] = None,
    eval_data: flags.EvalData = None,
    eval_split: flags.EvalSplit = None,
    eval_samples: flags.EvalSamples = None,
    resume: flags.Resume = False,
    force: flags.Force = False,
) -> None:
    """Train persistent rounds with lightning-fabric (the extra `train`): again and again from one
    start, away from the solutions found before.

    The folder then holds round-0.safetensors and so on, best.safetensors, recipe.yaml, report.json
    and report.html, which compares the rounds before and after alignment; while training, what was
    reached, for --resume. On a CPU a resumed run ends in the same bits.
    """
    from onefold.cli.console import say, show
    from onefold.recipe.persist.document import PersistRecipe

    wanted: dict[str, Any] = {
        "model": model,
        "data": given(source=data, split=split, samples=samples, skip=skip, batch_size=batch_size),
        "rounds": given(
            number=rounds,
            scope=scope or None,
            exclude=exclude or None,
            kernel=kernel,
            strength=strength,
            width=width,
            anneal=anneal,
            memory=memory,
            control=control,
            mirror=mirror,
            order=order,
            solutions=solutions,
            reference=reference,
            baselines=baselines,
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
        "validation": given(source=val_data, split=val_split, samples=val_samples, skip=val_skip),
        "held_out": held_out,
        "evaluation": given(source=eval_data, split=eval_split, samples=eval_samples),
        "seed": seed,
        "device": device,
    }
    for part in ("validation", "evaluation"):
        if wanted[part]:
            wanted[part] = {**given(source=data), **wanted[part]}
    asked = asked_for(PersistRecipe, recipe, wanted, output, "Training rounds", "The run")

    from onefold.recipe.persist.run import make

    made = carried_out(make, asked, force=force, resume=resume, threads=context.obj)
    if made is None:
        return
    if made.scored is not None:
        show(made.scored.table)
        if made.scored.compared is not None:
            say(str(made.scored.compared))
    say(made.report.summary)
    say(
        f"All rounds and the best of them were written to {made.folder}, with recipe.yaml and"
        " report.html."
    )
