"""`onefold align`: compute how the members' features map onto the reference's, print it, and save
it for `onefold merge --alignment`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def align(
    members: Annotated[list[str], typer.Argument(help="Two or more checkpoints.")],
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
                "Calibration data: sklearn:digits, parquet:DIR, idx:DIR, imagefolder:DIR,"
                " file.py:factory."
            )
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the alignment here (.safetensors).")
    ] = None,
    split: Annotated[str, typer.Option(help="The split of the data: train or test.")] = "train",
    samples: Annotated[int, typer.Option(min=1, help="Use at most so many examples.")] = 4000,
    skip: Annotated[int, typer.Option(min=0, help="Leave out the first so many examples.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a batch.")] = 128,
    method: Annotated[str, typer.Option(help="A matcher; see `onefold methods matcher`.")] = "cca",
    reference: Annotated[
        int, typer.Option(min=0, help="The member that the others are mapped to.")
    ] = 0,
    probe: Annotated[
        str, typer.Option(help="Where features are read: auto, pre or post.")
    ] = "auto",
    regularization: Annotated[
        float | None, typer.Option(help="Scale-free; default: the matcher's own.")
    ] = None,
    prior: Annotated[
        float | None,
        typer.Option(
            help="Hold of dense maps on the best permutation; default: the matcher's own."
        ),
    ] = None,
    max_positions: Annotated[
        int | None, typer.Option(help="Use at most so many positions of a feature map.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    on_disk: Annotated[
        bool,
        typer.Option(
            "--on-disk", help="Members stay on disk, two in memory at a time (default: large ones)."
        ),
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(help="Keep what is reached in this folder, and go on from what is there."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an output that exists.")] = False,
) -> None:
    """Line checkpoints up with one another, and show how well each group of features matches."""
    from onefold.alignment import align as compute
    from onefold.alignment import as_matcher, matchers
    from onefold.cli.console import note, print_json, say, table, warn
    from onefold.errors import OutputError
    from onefold.recipe import InputFile, check_data
    from onefold.recipe.inputs import check_runs, load_data, load_members
    from onefold.recipe.merge.report import alignment_table
    from onefold.registry import with_settings
    from onefold.weights import check_output

    if output is not None:
        if output.suffix != ".safetensors":
            raise OutputError(
                f"The alignment cannot be written as '{output.name}'; let the name end in"
                " .safetensors."
            )
        check_output(output, force)
    matchers.get(method)
    part = check_data(
        {"source": data, "split": split, "samples": samples, "skip": skip, "batch_size": batch_size}
    )
    models, _, notes = load_members(
        model, [InputFile(path=str(path)) for path in members], device, on_disk=on_disk or None
    )
    for text in notes:
        warn(text)
    loaded = load_data(part, seed)
    check_runs(models[0], loaded)
    note(f"Aligning {len(models)} members by {method}")
    found = compute(
        models,
        loaded,
        method=with_settings(
            as_matcher(method), probe=probe, regularization=regularization, prior=prior
        ),
        reference=reference,
        max_positions=max_positions,
        seed=seed,
        resume=resume,
    )
    if output is not None:
        found.save(output, force=force)
    for text in found.warnings:
        warn(text)
    if as_json:
        print_json(found.table())
        return
    rows = alignment_table(found)
    table(rows.headings, rows.plain())
    say(
        f"{found.members} members mapped to member {found.reference} by {found.method}, from"
        f" {found.examples} examples."
    )
    if output is not None:
        say(f"Saved as {output}; fold with: onefold merge --alignment {output} ...")
