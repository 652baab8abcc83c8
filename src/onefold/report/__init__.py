"""Reports: blocks, the HTML page, plots, tables of comparison and pictures of symmetries."""

from onefold.report.alignment_plots import alignment_overview, correlation_spectra
from onefold.report.blocks import Column, Facts, Grid, Picture, Table, Text
from onefold.report.comparison import Candidate, comparison_table, verdict
from onefold.report.cost_chart import Point, cost_chart
from onefold.report.headline import Headline, headline
from onefold.report.heat_map import heat_map
from onefold.report.lanes import Lane, Lanes, group_lanes
from onefold.report.path_plots import barrier_curves, path_table, path_texts, triangle_map
from onefold.report.report import Report
from onefold.report.score_plots import reliability_diagram, score_comparison
from onefold.report.score_table import score_chart, score_table
from onefold.report.section import Section
from onefold.report.style import to_png, to_svg

__all__ = [
    "Candidate",
    "Column",
    "Facts",
    "Grid",
    "Headline",
    "Lane",
    "Lanes",
    "Picture",
    "Point",
    "Report",
    "Section",
    "Table",
    "Text",
    "alignment_overview",
    "barrier_curves",
    "comparison_table",
    "correlation_spectra",
    "cost_chart",
    "group_lanes",
    "headline",
    "heat_map",
    "path_table",
    "path_texts",
    "reliability_diagram",
    "score_chart",
    "score_comparison",
    "score_table",
    "to_png",
    "to_svg",
    "triangle_map",
    "verdict",
]
