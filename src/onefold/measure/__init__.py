"""Measures of networks: scores, calibration, paired comparisons, paths and barriers."""

from onefold.measure.between import combine, matching
from onefold.measure.evaluation import Evaluation, agreement, evaluate, evaluate_all
from onefold.measure.paired import Difference, difference
from onefold.measure.path import LinearPath, barrier
from onefold.measure.scores import Scores, reliability, score_logits, score_probabilities
from onefold.measure.triangles import Triangle, triangle
from onefold.tasks.answers import Answers
from onefold.tasks.calibration import Binning, Reliability, bin_confidences

__all__ = [
    "Answers",
    "Binning",
    "Difference",
    "Evaluation",
    "LinearPath",
    "Reliability",
    "Scores",
    "Triangle",
    "agreement",
    "barrier",
    "bin_confidences",
    "combine",
    "difference",
    "evaluate",
    "evaluate_all",
    "matching",
    "reliability",
    "score_logits",
    "score_probabilities",
    "triangle",
]
