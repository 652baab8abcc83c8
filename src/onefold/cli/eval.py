"""`onefold eval`: how good checkpoints are, one by one and as an ensemble."""

from __future__ import annotations

from typing import Annotated

import typer


def evaluate(
    checkpoints: Annotated[
        list[str], typer.Argument(help="One or more checkpoints of one architecture.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help=(
                "The architecture: a built-in, file.py:factory, timm:NAME, torchvision:NAME or"
                " hf:FOLDER."
            )
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help=(
                "Labelled data: sklearn:digits, parquet:DIR, idx:DIR, imagefolder:DIR,"
                " file.py:factory."
            )
        ),
    ],
    split: Annotated[str, typer.Option(help="The split of the data: train or test.")] = "test",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Score on at most so many examples (default: all).")
    ] = None,
    skip: Annotated[int, typer.Option(min=0, help="Leave out the first so many examples.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a batch.")] = 128,
    ensemble: Annotated[
        str, typer.Option(help="What the ensemble averages: probabilities or logits.")
    ] = "probabilities",
    bins: Annotated[int, typer.Option(min=1, help="Bins of the calibration error.")] = 15,
    binning: Annotated[str, typer.Option(help="equal-width or adaptive.")] = "equal-width",
    network_output: Annotated[
        str | None,
        typer.Option(
            help="Which output is scored, a name or an index, where networks return several."
        ),
    ] = None,
    class_axis: Annotated[
        int | None,
        typer.Option(help="The axis of its classes, where labels do not tell it (1 or -1)."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Score checkpoints on labelled data: accuracy, NLL, calibration, Brier score, and that of
    their ensemble.
    """
    from pathlib import Path

    from onefold.cli.console import note, print_json, say, show, warn
    from onefold.cli.flags import selected
    from onefold.inference import Output
    from onefold.measure import evaluate_all
    from onefold.recipe import InputFile, check_data
    from onefold.recipe.inputs import check_labelled, load_data, load_networks
    from onefold.recipe.merge.report import parameters_of
    from onefold.report import Candidate, comparison_table, verdict
    from onefold.report.comparison import best_names, paired_rows
    from onefold.sources import build_model
    from onefold.sources.class_names import class_map, class_names_of

    part = check_data(
        {"source": data, "split": split, "samples": samples, "skip": skip, "batch_size": batch_size}
    )
    networks, _, notes = load_networks(
        model, [InputFile(path=path) for path in checkpoints], device, mixtures=True
    )
    for text in notes:
        warn(text)
    loaded = load_data(part)
    check_labelled(loaded, part)
    note(f"Scoring {len(networks)} networks on the {split} split of {data}")
    meant = Output(selected(network_output), class_axis)
    found = evaluate_all(
        networks,
        loaded,
        ensemble=ensemble,  # type: ignore[arg-type]
        bins=bins,
        binning=binning,  # type: ignore[arg-type]
        output=meant,
    )
    names = class_names_of(loaded)
    if as_json:
        paired = paired_rows(
            [*found.members, *([found.ensemble] if len(networks) > 1 else [])], found.best
        )
        classes = {"classes": names} if names else {}
        print_json(
            {
                "checkpoints": checkpoints,
                **classes,
                **found.to_dict(),
                "best": found.best,
                "less the best, paired": paired,
            }
        )
        return
    sizes, count = [parameters_of(network) for network in networks], len(networks)
    one = parameters_of(build_model(model))  # a mixture is as large and as slow as several
    labels = _labels([Path(path) for path in checkpoints])
    rows = [
        Candidate(label, scores, size, size / one)
        for label, scores, size in zip(labels, found.members, sizes, strict=True)
    ]
    if count > 1:
        rows.append(
            Candidate(
                f"ensemble of {count}",
                found.ensemble,
                sum(sizes),
                sum(sizes) / one,
                f"mean of {ensemble}",
            )
        )
    best = best_names(rows[:count])[0]
    show(comparison_table(rows, against=best if count > 1 else None))
    if names:
        say(f"Classes: {class_map(names)}")
    if count > 1:
        others = [row for row in rows if row.name != best]
        say(
            verdict(
                next(row for row in rows if row.name == best)._replace(
                    name=f"The best of them ({best})"
                ),
                others,
            )
        )
        say(
            f"The networks agree with one another on {100 * (found.ensemble.agreement or 0):.1f} %"
            " of the examples, on average over pairs."
        )


def _labels(paths: list) -> list[str]:  # type: ignore[type-arg]
    """File names, or whole paths where the names alone are not different."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
