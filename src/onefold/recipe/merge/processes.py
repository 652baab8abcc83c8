"""A merge in several processes, each with its part of the calibration data.

The first process hands the result over in files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from onefold.distributed import rank
from onefold.fold import MergeResult
from onefold.fold.result_files import load_result, save_result
from onefold.fold.saved import load_members
from onefold.processes import check_device, launch
from onefold.recipe.inputs import load_data
from onefold.recipe.merge.document import Recipe, check
from onefold.recipe.merge.fold import fold_networks
from onefold.sources import build_model


def fold_in_processes(
    recipe: Recipe, threads: int, *, on_disk: bool | None, resume: Path | None
) -> MergeResult[nn.Module]:
    """The result of `fold_networks`, from `recipe.devices` new processes.

    Args:
        recipe: what is carried out.
        threads: of all processes together.
        on_disk: whether members stay on disk; None: large ones do.
        resume: the folder of the alignment's checkpoint, if any.

    Raises:
        OnefoldError: what one of the processes raised.
    """
    with tempfile.TemporaryDirectory(prefix="onefold-") as name:
        folder = Path(name)
        # as plain data: methods of a user's own cannot be pickled before their files are run
        content = recipe.model_dump(mode="json")
        job = (content, folder, max(1, threads // recipe.devices), on_disk, resume)
        again = (
            "the same command begins again"
            if resume is None
            else f"the same command goes on from what {resume} holds"
        )
        launch(_fold, job, check_device(recipe.device), recipe.devices, again=again)
        model = build_model(recipe.model).to(check_device(recipe.device)).eval()
        return load_result(model, folder)


def _fold(
    fabric: Any,
    content: Mapping[str, Any],
    folder: Path,
    threads: int,
    on_disk: bool | None,
    resume: Path | None,
) -> None:
    """The work of every process."""
    recipe = check(content)
    torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    part, device = recipe.reading.selection, str(fabric.device)
    models, _ = load_members(recipe.model, recipe.paths, device, on_disk=on_disk, selection=part)
    assert recipe.data is not None
    result = fold_networks(recipe, models, load_data(recipe.data, recipe.seed), resume)
    if rank() == 0:
        save_result(result, folder)
