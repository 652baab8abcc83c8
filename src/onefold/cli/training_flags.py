"""The flags of the commands that train, each by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TRAINING, SCORING = "How to train", "How to score"

Recipe = Annotated[
    str | None, typer.Argument(help="A recipe (.yaml), instead of flags.", metavar="[RECIPE.yaml]")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The folder to write into.")]
Model = Annotated[
    str | None,
    typer.Option(
        help=(
            "The architecture: a built-in, file.py:factory, timm:NAME, torchvision:NAME or"
            " hf:FOLDER."
        )
    ),
]
Data = Annotated[
    str | None, typer.Option(help="Labelled data to train on: sklearn:digits, parquet:DIR, ...")
]
Split = Annotated[str | None, typer.Option(help="Its split: train (default) or test.")]
Skip = Annotated[int | None, typer.Option(help="Leave out the first so many examples.")]
BatchSize = Annotated[
    int | None, typer.Option(help="Examples in a step (default 128).", rich_help_panel=TRAINING)
]
LearningRate = Annotated[
    float | None, typer.Option(help="The highest (default 0.1).", rich_help_panel=TRAINING)
]
Momentum = Annotated[
    float | None, typer.Option(help="Of SGD (default 0.9).", rich_help_panel=TRAINING)
]
WeightDecay = Annotated[
    float | None, typer.Option(help="Default 0.0001.", rich_help_panel=TRAINING)
]
WarmUp = Annotated[
    float | None,
    typer.Option(
        help="Epochs in which the rate rises (default: a tenth, at most 5).",
        rich_help_panel=TRAINING,
    ),
]
Augment = Annotated[
    str | None,
    typer.Option(help="none (default), or flip-crop for images.", rich_help_panel=TRAINING),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="32-true (default), bf16-mixed, 16-mixed, bf16-true or 64-true.",
        rich_help_panel=TRAINING,
    ),
]
Devices = Annotated[
    int | None,
    typer.Option(help="Processes, one on each device (default 1).", rich_help_panel=TRAINING),
]
Seed = Annotated[int | None, typer.Option(help="Of everything random (default 0).")]
Device = Annotated[
    str | None, typer.Option(help="cpu (default), cuda, cuda:N, or auto: cuda where there is one.")
]
EvalData = Annotated[
    str | None,
    typer.Option(help="Labelled data to score on (default: --data).", rich_help_panel=SCORING),
]
EvalSplit = Annotated[
    str | None,
    typer.Option(
        help="Its split (default test); given, scores are taken.", rich_help_panel=SCORING
    ),
]
EvalSamples = Annotated[
    int | None,
    typer.Option(help="Score on at most so many examples (default: all).", rich_help_panel=SCORING),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with a run that was broken off in the folder, from its last epoch."
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Begin anew in a folder that holds something.")
]
