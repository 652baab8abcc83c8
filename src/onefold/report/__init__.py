"""Reports: blocks, the HTML page, plots, tables of comparison and pictures of symmetries."""

from onefold.report.alignment_plots import alignment_overview, correlation_spectra
from onefold.report.blocks import Column, Facts, Picture, Section, Table, Text
from onefold.report.comparison import Candidate, comparison_table, verdict
from onefold.report.heat_map import heat_map
from onefold.report.lanes import Lane, Lanes, group_lanes
from onefold.report.path_plots import barrier_curves, path_texts, triangle_map
from onefold.report.report import Report
from onefold.report.score_plots import accuracy_comparison, reliability_diagram
from onefold.report.style import to_png, to_svg

__all__ = [
    "Candidate",
    "Column",
    "Facts",
    "Lane",
    "Lanes",
    "Picture",
    "Report",
    "Section",
    "Table",
    "Text",
    "accuracy_comparison",
    "alignment_overview",
    "barrier_curves",
    "comparison_table",
    "correlation_spectra",
    "group_lanes",
    "heat_map",
    "path_texts",
    "reliability_diagram",
    "to_png",
    "to_svg",
    "triangle_map",
    "verdict",
]
