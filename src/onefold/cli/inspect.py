"""`onefold inspect`: what may move inside a network without changing its function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from onefold.symmetry import SymmetrySpec


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help=(
                "The architecture: a built-in, file.py:factory, timm:NAME, torchvision:NAME or"
                " hf:FOLDER."
            )
        ),
    ],
    checkpoint: Annotated[
        str | None, typer.Argument(help="Its weights; without them it is initialised at random.")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(help="The shape of one example, as 3,32,32 (float inputs at random)."),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --shape: whole numbers below this one, for a network that reads tokens.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Or data whose first two examples are taken, as in `onefold merge`."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Also prove it numerically in float64, with negative controls."
        ),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw the groups along the network into this file (.svg or .png)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a picture that exists.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole symmetry spec as JSON.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of random weights and inputs.")] = 0,
) -> None:
    """Show the groups of features of a network, the maps that each allows, and what is frozen and
    why.
    """
    from onefold.errors import RecipeError

    if (shape is None) == (data is None):
        raise RecipeError(
            "Inspecting needs an example input; give either --shape, as in --shape 3,32,32, or"
            " --data."
        )
    if tokens is not None and shape is None:
        raise RecipeError(
            "--tokens says what numbers an example of --shape holds; give --shape too, as in"
            " --shape 12 --tokens 30000."
        )
    sizes = _sizes(shape) if shape is not None else None
    if picture is not None:
        _check_picture(picture, force)
    import torch

    from onefold.batches import batches
    from onefold.cli.console import note, say
    from onefold.recipe import InputFile, check_data
    from onefold.recipe.inputs import load_data, load_networks
    from onefold.sources import build_model
    from onefold.symmetry import find_symmetries, verify_symmetries

    torch.manual_seed(seed)
    network = (
        load_networks(model, [InputFile(path=checkpoint)])[0][0]
        if checkpoint
        else build_model(model).eval()
    )
    inputs: object
    if sizes is not None:
        inputs = torch.randn(2, *sizes) if tokens is None else torch.randint(tokens, (2, *sizes))
    else:
        inputs = next(
            batches(load_data(check_data({"source": data, "samples": 2, "batch_size": 2})))
        )
    spec = find_symmetries(network, inputs)
    say(spec.to_json() if as_json else spec)
    if picture is not None:
        _draw(spec, picture, force)
        note(f"Drawn into {picture}")
    if verify:
        proof = verify_symmetries(spec, network, inputs)
        (note if as_json else say)(str(proof))  # JSON stays alone on standard output
        if not proof.passed:
            raise typer.Exit(1)


def _check_picture(path: Path, force: bool) -> None:
    from onefold.errors import OutputError
    from onefold.weights import check_output

    if path.suffix not in (".svg", ".png"):
        raise OutputError(
            f"The picture cannot be written as '{path.name}'; let the name end in .svg or .png."
        )
    check_output(path, force)


def _draw(spec: SymmetrySpec, path: Path, force: bool) -> None:
    from onefold.report import group_lanes, to_png, to_svg
    from onefold.report.symmetry_picture import lanes_of
    from onefold.weights import atomic_write

    figure = group_lanes(lanes_of(spec))
    atomic_write(
        path,
        to_svg(figure, "groups") + "\n" if path.suffix == ".svg" else to_png(figure),
        force=force,
    )


def _sizes(text: str) -> list[int]:
    from onefold.errors import RecipeError

    try:
        sizes = [int(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise RecipeError(
            f"--shape takes whole numbers separated by commas, as 3,32,32, not '{text}'."
        )
    return sizes
