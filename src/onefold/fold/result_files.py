"""The result of a merge in a folder, by which one process hands it to another."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from onefold.alignment import Alignment
from onefold.fold.merge_report import MergeReport, MergeResult
from onefold.weights import load, read, save
from onefold.weights.atomic import fill
from onefold.weights.resized import KEY as RESIZED
from onefold.widths.saved import rebuilt

STATE, MAPS, REPORT = "result.safetensors", "alignment.safetensors", "report.json"


def save_result(result: MergeResult[nn.Module], folder: Path) -> None:
    """Write a result into an empty folder.

    Raises:
        OutputError: the disk is full or refuses.
    """
    save(result.model, folder / STATE, check_finite=False)
    if result.alignment is not None:
        result.alignment.save(folder / MAPS)
    fill(folder / REPORT, json.dumps(result.report.to_dict()), folder / REPORT)


def load_result(model: nn.Module, folder: Path) -> MergeResult[nn.Module]:
    """The result that `save_result` wrote.

    Args:
        model: a network of the members' architecture, which takes the weights; where the result
            has other widths, a copy of it does.
        folder: the folder.

    Raises:
        WeightsError: the weights cannot be read.
    """
    checkpoint = read(folder / STATE, check_finite=False)
    if RESIZED in checkpoint.metadata:
        model = rebuilt(model, checkpoint, str(folder / STATE))
    model.load_state_dict(load(folder / STATE, check_finite=False))
    facts = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    report = MergeReport(**{**facts, "weights": tuple(facts["weights"])})
    alignment = Alignment.load(folder / MAPS) if (folder / MAPS).exists() else None
    return MergeResult(model, alignment, report)
