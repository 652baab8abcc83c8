"""Was it worth it: scores, calibration, barriers, pictures and a report."""

from __future__ import annotations

from onefold.measure.answers import Answers
from onefold.measure.calibration import Binning, Reliability, bin_confidences
from onefold.measure.class_shares import class_pool
from onefold.measure.comparison import Candidate, comparison_table, verdict
from onefold.measure.evaluation import Evaluation, agreement, eval_mode, evaluate, evaluate_all, predictions
from onefold.measure.lanes import Lane, Lanes, group_lanes
from onefold.measure.paired import Difference, difference
from onefold.measure.path import Path, Triangle, barrier, combine, matching, triangle
from onefold.measure.plots import (
    accuracy_comparison,
    alignment_overview,
    barrier_curves,
    correlation_spectra,
    heat_map,
    reliability_diagram,
    triangle_map,
)
from onefold.measure.pool import ClassPool
from onefold.measure.report import Column, Facts, Picture, Report, Section, Table, Text
from onefold.measure.scores import EnsembleMean, Scores, reliability, score_logits, score_probabilities
from onefold.measure.style import to_png, to_svg

__all__ = [
    "Answers",
    "Binning",
    "Candidate",
    "ClassPool",
    "Column",
    "Difference",
    "EnsembleMean",
    "Evaluation",
    "Facts",
    "Lane",
    "Lanes",
    "Path",
    "Picture",
    "Reliability",
    "Report",
    "Scores",
    "Section",
    "Table",
    "Text",
    "Triangle",
    "accuracy_comparison",
    "agreement",
    "alignment_overview",
    "barrier",
    "barrier_curves",
    "bin_confidences",
    "class_pool",
    "combine",
    "comparison_table",
    "correlation_spectra",
    "difference",
    "eval_mode",
    "evaluate",
    "evaluate_all",
    "group_lanes",
    "heat_map",
    "matching",
    "predictions",
    "reliability",
    "reliability_diagram",
    "score_logits",
    "score_probabilities",
    "to_png",
    "to_svg",
    "triangle",
    "triangle_map",
    "verdict",
]
