"""Pages of commands: checked before anything slow, dated, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from onefold.report import Report
from onefold.report.report import FORMS
from onefold.result_reports.provenance import stamp
from onefold.weights import check_apart, check_ending, check_output

HELP = "Also write a report to read (.html), or for programs (.json)."
FORCE = "Replace files that exist; inputs never are."


def check_page(path: str | os.PathLike[str], force: bool, read: Sequence[Path] = ()) -> None:
    """Check that a report may be written. Call it before slow work.

    Args:
        path: the file.
        force: an existing file may be replaced.
        read: the files that are read, which are never replaced.

    Raises:
        OutputError: the name ends in neither .html nor .json, the file is one of those that are
            read, or exists and `force` is false, or it cannot be written.
    """
    check_ending(path, "The report", FORMS)
    if read:
        check_apart([Path(path)], read)
    check_output(path, force)


def write_page(report: Report, path: str | os.PathLike[str], force: bool) -> None:
    """Write a report with its date and command; see `check_page`."""
    stamp(report).save(path, force=force)
