"""`onefold merge`: many checkpoints to one, by flags or by a recipe; flags are a recipe that is not
written down yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onefold.cli.flags import given, selected
from onefold.errors import RecipeError

ALIGNING, FOLDING, SCORING = "How to align", "How to fold", "How to score"


def merge(
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
            help=(
                "Calibration data: sklearn:digits, parquet:, idx: or imagefolder:DIR,"
                " file.py:factory."
            )
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split of the calibration data: train (default) or test.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Use at most so many calibration examples (default 4000).")
    ] = None,
    skip: Annotated[int | None, typer.Option(help="Leave out the first so many examples.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples in a batch (default 128).")
    ] = None,
    align: Annotated[
        str | None,
        typer.Option(
            help="A matcher (default cca; `onefold methods` lists them) or none.",
            rich_help_panel=ALIGNING,
        ),
    ] = None,
    alignment: Annotated[
        Path | None,
        typer.Option(help="A saved alignment, instead of --align.", rich_help_panel=ALIGNING),
    ] = None,
    reference: Annotated[
        int | None,
        typer.Option(
            help="The member that the others are mapped to (default 0).", rich_help_panel=ALIGNING
        ),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(
            help="Where features are read: auto (default), pre or post.", rich_help_panel=ALIGNING
        ),
    ] = None,
    regularization: Annotated[
        float | None,
        typer.Option(help="Scale-free; default: the matcher's own.", rich_help_panel=ALIGNING),
    ] = None,
    prior: Annotated[
        float | None,
        typer.Option(
            help="Hold of dense maps on the best permutation; default: the matcher's own.",
            rich_help_panel=ALIGNING,
        ),
    ] = None,
    max_positions: Annotated[
        int | None,
        typer.Option(
            help="Use at most so many positions of a feature map.", rich_help_panel=ALIGNING
        ),
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option(
            help="A fold (default average; see `onefold methods fold`).", rich_help_panel=FOLDING
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="The members' shares, as 0.7,0.3 (default: equal).", rich_help_panel=FOLDING
        ),
    ] = None,
    repair: Annotated[
        str | None,
        typer.Option(
            help="How statistics are repaired (default auto), or none.", rich_help_panel=FOLDING
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Of least squares: pruning (default), correlation, equal or selection.",
            rich_help_panel=FOLDING,
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(
            help="Of least squares: sampled positions of a layer (default 20000).",
            rich_help_panel=FOLDING,
        ),
    ] = None,
    ridge: Annotated[
        float | None,
        typer.Option(
            help="Of least squares, relative; default: chosen for each layer.",
            rich_help_panel=FOLDING,
        ),
    ] = None,
    ensemble: Annotated[
        str | None,
        typer.Option(
            help=(
                "What least squares and polish aim at: the mean of logits (default) or"
                " probabilities, or classes (who saw more of one counts more)."
            ),
            rich_help_panel=FOLDING,
        ),
    ] = None,
    class_shares: Annotated[
        str | None,
        typer.Option(
            help=(
                "Of --ensemble classes: those of the classes in --data, as 0.5,0.3,0.2 (default:"
                " even)."
            ),
            rich_help_panel=FOLDING,
        ),
    ] = None,
    polish: Annotated[
        int | None,
        typer.Option(
            help="Passes of distillation from the ensemble, last (default 0).",
            rich_help_panel=FOLDING,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help=(
                "Merge up to this module, or share of the layers as 50%; the rest stays the"
                " members'."
            ),
            rich_help_panel=FOLDING,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random (default 0).")] = None,
    device: Annotated[str | None, typer.Option(help="cpu (default), cuda or cuda:N.")] = None,
    devices: Annotated[
        int | None, typer.Option(help="Processes that share the calibration data (default 1).")
    ] = None,
    on_disk: Annotated[
        bool,
        typer.Option(
            "--on-disk", help="Members stay on disk, two in memory at a time (default: large ones)."
        ),
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(help="Keep the alignment in this folder, and go on from what is there."),
    ] = None,
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
    barrier: Annotated[
        bool | None,
        typer.Option(
            "--barrier",
            help="Measure the barrier between members 0 and 1.",
            rich_help_panel=SCORING,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Also write a report to read (.html).", rich_help_panel=SCORING),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")] = False,
) -> None:
    """Fold checkpoints of one architecture into one, and write the recipe that makes it again
    beside it.

    Beside folded.safetensors come folded.recipe.yaml and folded.report.json.
    """
    from onefold.cli.console import note, say, show, warn
    from onefold.recipe import absolute, check, read

    flags: dict[str, Any] = {
        "model": model,
        "data": given(source=data, split=split, samples=samples, skip=skip, batch_size=batch_size),
        "align": given(
            method="saved" if alignment else align,
            file=alignment and str(alignment),
            reference=reference,
            probe=probe,
            regularization=regularization,
            prior=prior,
            max_positions=max_positions,
        ),
        "fold": given(
            method=fold,
            weights=_numbers(weights, "--weights"),
            repair=repair,
            target=target,
            rows=rows,
            ridge=ridge,
            ensemble=ensemble,
            class_shares=_numbers(class_shares, "--class-shares"),
            polish=polish,
            until=until,
        ),
        "evaluation": given(source=eval_data, split=eval_split, samples=eval_samples),
        "barrier": barrier,
        "network_output": given(select=selected(network_output), class_axis=class_axis),
        "seed": seed,
        "device": device,
        "devices": devices,
    }
    flags = {key: value for key, value in flags.items() if value not in (None, {})}
    if len(members) == 1 and members[0].endswith((".yaml", ".yml")):
        if flags:
            raise RecipeError(
                f"A recipe says everything, so it takes no {_flag(flags)}; edit a copy of it, or"
                " give -o, --report, --on-disk, --resume and --force only."
            )
        recipe = read(members[0])
    else:
        for name, value in (("--model", model), ("--output", output)):
            if value is None:
                raise RecipeError(f"A merge by flags needs {name}; see `onefold merge --help`.")
        if alignment and align:
            raise RecipeError("--align and --alignment exclude each other; give one of them.")
        if "evaluation" in flags:
            flags["evaluation"] = {
                **given(source=data, batch_size=batch_size),
                **flags["evaluation"],
            }
        recipe = absolute(check({**flags, "members": members}, "The merge"))
    if output is not None:
        recipe = recipe.model_copy(update={"output": str(output.absolute()), "html": None})
    if report is not None:
        recipe = recipe.model_copy(update={"html": str(report.absolute())})

    from onefold.recipe.merge.run import make

    made = make(
        recipe, force=force, threads=context.obj, on_disk=on_disk or None, resume=resume, tell=note
    )
    for warning in made.warnings:
        warn(warning)
    if made.scored is not None:
        show(made.scored.table)
        if made.scored.classes:
            say(f"Classes: {made.scored.classes}")
        for name, path in made.scored.paths.items():
            say(f"{name}: {path}")
        say(made.scored.verdict)
    if partial := made.result.report.folded.get("partial"):
        say(partial["text"])
    seconds = sum(made.result.report.seconds.values())
    say(
        f"Folded {len(recipe.members)} members in {seconds:.1f} s into {made.files.result}, written"
        f" with {_names(made.files.all()[:-1])}."
    )


def _numbers(text: str | None, flag: str) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise RecipeError(
            f"{flag} takes numbers separated by commas, as 0.7,0.3, not '{text}'."
        ) from None


def _flag(flags: dict[str, Any]) -> str:
    """One of the flags, as the user would have written its group."""
    name = next(iter(flags))
    return {
        "evaluation": "--eval-… option",
        "align": "option on how to align",
        "fold": "option on how to fold",
    }.get(name, f"--{name} option")


def _names(paths: list[Path]) -> str:
    names = [path.name for path in paths]
    return f"{', '.join(names[:-1])} and {names[-1]}"
