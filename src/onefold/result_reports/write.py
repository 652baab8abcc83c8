"""`onefold.write_report`: the page that the commands write, for a result in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from onefold.arguments import checked
from onefold.batches import Data
from onefold.errors import MembersError
from onefold.fold import MergeResult, PartialResult, SoftResult
from onefold.inference import OutputChoice
from onefold.isolation import isolated
from onefold.report import Report
from onefold.report.report import FORMS
from onefold.result_reports.merges import report_merge, score_merge
from onefold.result_reports.provenance import stamp
from onefold.result_reports.soft_merges import report_soft_merge, score_soft_merge
from onefold.tasks.scoring import AUTO, TaskChoice, as_scoring
from onefold.weights import check_ending, check_output


@checked
@isolated
def write_report(
    result: MergeResult[nn.Module] | PartialResult | SoftResult,
    models: Sequence[nn.Module],
    data: Data | None,
    path: str | os.PathLike[str],
    *,
    calibration: Data | None = None,
    output: OutputChoice = None,
    task: TaskChoice = AUTO,
    metrics: Any = (),
    by: str | None = None,
    force: bool = False,
) -> Report:
    """Score a result beside its members and their ensemble, and write the report.

    The page is the one that `onefold merge --report` and `onefold soft --report` write, without the
    facts that only a recipe knows, such as the names of files.

    Args:
        result: of `onefold.merge`, `onefold.partial_merge` or `onefold.fit_gates`.
        models: the K members that it was made of, in the same order. They are not modified.
        data: labelled batches to score on, which no choice was made on; None: nothing is scored.
        path: the file to write: .html for readers, .json for programs.
        calibration: batches, labels ignored. Given, the report of a merge shows the barrier between
            members 0 and 1, batch-norm statistics re-estimated on them; this takes 21 passes over
            `data`, and as many for the aligned members.
        output: which output is scored if the networks return several, and on which axis its classes
            lie (`onefold.inference`).
        task: as in `onefold.evaluate`.
        metrics: further scores, as in `onefold.evaluate`.
        by: the name of the score by which networks are compared, as in `onefold.evaluate`.
        force: replace an existing file.

    Returns:
        The report. `report.data` has all figures as plain data.

    Raises:
        OutputError: the name ends otherwise, the file exists and `force` is false, or it cannot be
            written; raised before anything is scored.
        SettingError: unknown task, metric or score.
        MembersError: the result was made of another number of members.
        DataError: `data` is empty, has no labels, or a network cannot run on it.
    """
    target = Path(path)
    check_ending(target, "A report", FORMS)
    check_output(target, force)
    _check_number(result, models)
    how: dict[str, Any] = {"output": output, "scoring": as_scoring(task, metrics, by)}
    if isinstance(result, SoftResult):
        gates = None if data is None else score_soft_merge(result, models, data, **how)
        report = report_soft_merge(result, gates)
    else:
        merged = result.merged() if isinstance(result, PartialResult) else result
        scored = None
        if data is not None:
            scored = score_merge(merged, models, data, calibration=calibration, **how)
        report = report_merge(merged, scored)
    stamp(report).save(target, force=force)
    return report


def _check_number(
    result: MergeResult[nn.Module] | PartialResult | SoftResult, models: Sequence[nn.Module]
) -> None:
    """Raises MembersError if the result was made of another number of members."""
    if isinstance(result, SoftResult):
        count = len(result.soft.members)
    elif isinstance(result, PartialResult):
        count = len(result.report.heads)
    else:
        count = result.report.members
    if len(models) != count:
        raise MembersError(
            f"The result was made of {count} networks and {len(models)} were given; give all of"
            " its members, in the order of the merge."
        )
