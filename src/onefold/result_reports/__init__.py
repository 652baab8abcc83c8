"""Reports of results: scores beside what a result must be compared with, and what was done.

One file for each kind of result, each with a function that scores and one that makes the report. A
report is a `onefold.report.Report`: one HTML page, or JSON. `write_report` does all of it at once.
"""

from onefold.result_reports.merges import MergeScored, report_merge, score_merge
from onefold.result_reports.persistent_rounds import PersistScored, report_rounds, score_rounds
from onefold.result_reports.provenance import Provenance
from onefold.result_reports.scored import Scored
from onefold.result_reports.soft_merges import SoftScored, report_soft_merge, score_soft_merge
from onefold.result_reports.subspaces import SubspaceScored, report_subspace, score_subspace
from onefold.result_reports.write import write_report

__all__ = [
    "MergeScored",
    "PersistScored",
    "Provenance",
    "Scored",
    "SoftScored",
    "SubspaceScored",
    "report_merge",
    "report_rounds",
    "report_soft_merge",
    "report_subspace",
    "score_merge",
    "score_rounds",
    "score_soft_merge",
    "score_subspace",
    "write_report",
]
