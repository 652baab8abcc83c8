"""Show the groups of features of a network, the maps that each allows, and what is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
import typer
from pydantic import Field
from torch import nn

from onefold.batches import batches
from onefold.cli.command import RequestCommand
from onefold.cli.console import console, note, paragraph, say
from onefold.cli.tables import print_table
from onefold.documents.part import Flag, InputFile
from onefold.errors import RecipeError
from onefold.fold.saved import load_networks
from onefold.recipe.document import READING, DataPart, Document, ReadingPart, Request
from onefold.recipe.inputs import load_data
from onefold.recipe.named_files import inputs_of
from onefold.report import group_lanes
from onefold.report.figure_files import check_figure, save_figure
from onefold.report.symmetry_picture import lanes_of
from onefold.result_reports.pages import FORCE, HELP, check_page, write_page
from onefold.result_reports.symmetries import report_symmetries
from onefold.sources import build_model
from onefold.symmetry import SymmetrySpec, find_symmetries, verify_symmetries
from onefold.symmetry.table import HEAD, facts_of, rows_of
from onefold.weights import check_apart

KEYS: Any = Document.model_fields


class InspectRequest(Request):
    """An inspection by options."""

    command: ClassVar[str] = "inspect"
    noun: ClassVar[str] = "inspection"
    model: Annotated[str, Flag(metavar="MODEL")] = KEYS["model"]
    checkpoint: Annotated[InputFile | None, Flag(metavar="CHECKPOINT")] = Field(
        default=None, description="Its weights; without them it is initialised at random."
    )
    reading: Annotated[ReadingPart, READING] = ReadingPart()
    shape: str | None = Field(
        default=None, description="The shape of one example, as 3,32,32 (float inputs at random)."
    )
    tokens: int | None = Field(
        default=None,
        ge=1,
        description="With --shape: whole numbers below this one, for a network that reads tokens.",
    )
    data: Annotated[str | None, Flag()] = Field(
        default=None,
        description="Or data whose first two examples are taken, as in `onefold merge`.",
    )
    verify: bool = Field(
        default=False, description="Also prove it numerically in float64, with negative controls."
    )
    picture: str | None = Field(
        default=None, description="Draw the groups along the network into this file (.svg or .png)."
    )
    page: Annotated[str | None, Flag(name="report")] = Field(default=None, description=HELP)
    force: bool = Field(default=False, description=FORCE)
    spec: Annotated[bool, Flag(name="json")] = Field(
        default=False, description="Print the whole symmetry spec as JSON."
    )
    seed: int = KEYS["seed"]


def run(asked: InspectRequest) -> None:
    """Find the symmetries and print, draw or prove them."""
    _check(asked)
    if asked.picture:
        check_apart([asked.picture], inputs_of(asked))
        check_figure(asked.picture, asked.force)
    if asked.page:
        check_page(asked.page, asked.force, inputs_of(asked))
    sizes = _sizes(asked.shape) if asked.shape is not None else []
    torch.manual_seed(asked.seed)
    network = _network(asked)
    inputs = _inputs(asked, sizes)
    spec = find_symmetries(network, inputs)
    if asked.spec:
        say(spec.to_json())
    else:
        _print(spec)
    if asked.picture:
        save_figure(group_lanes(lanes_of(spec)), asked.picture, "groups", force=asked.force)
        note(f"Drawn into {asked.picture}")
    proof = verify_symmetries(spec, network, inputs) if asked.verify else None
    if proof is not None:
        (note if asked.spec else say)(str(proof))  # JSON stays alone on standard output
    if asked.page:
        report = report_symmetries(spec, asked.model, str(proof or ""))
        write_page(report, asked.page, asked.force)
        note(f"Report written to {asked.page}")
    if proof is not None and not proof.passed:
        raise typer.Exit(1)


def _inputs(asked: InspectRequest, sizes: Sequence[int]) -> Any:
    """Two examples: of the data, or random ones of the sizes."""
    if asked.data is not None:
        part = DataPart(source=asked.data, samples=2, batch_size=2)
        return next(batches(load_data(part)))
    if asked.tokens is None:
        return torch.randn(2, *sizes)
    return torch.randint(asked.tokens, (2, *sizes))


def _print(spec: SymmetrySpec) -> None:
    """Print the spec as it is; in a terminal its table is made to fit."""
    target = console()
    if not target.is_terminal:
        say(spec)
        return
    print_table(target, HEAD, rows_of(spec))
    for line in facts_of(spec):
        paragraph(line)


def _network(asked: InspectRequest) -> nn.Module:
    if asked.checkpoint is None:
        return build_model(asked.model).eval()
    part = asked.reading.selection
    return load_networks(asked.model, [asked.checkpoint.path], selection=part)[0][0]


def _check(asked: InspectRequest) -> None:
    if (asked.shape is None) == (asked.data is None):
        raise RecipeError(
            "Inspecting needs an example input; give either --shape, as in --shape 3,32,32, or"
            " --data."
        )
    if asked.tokens is not None and asked.shape is None:
        raise RecipeError(
            "--tokens says what numbers an example of --shape holds; give --shape too, as in"
            " --shape 12 --tokens 30000."
        )


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise RecipeError(
            f"--shape takes whole numbers separated by commas, as 3,32,32, not '{text}'."
        )
    return sizes


COMMAND = RequestCommand(InspectRequest, run)
