"""Measures of networks: scores, calibration, paired comparisons, paths and barriers."""

from onefold.measure.answers import Answers
from onefold.measure.calibration import Binning, Reliability, bin_confidences
from onefold.measure.evaluation import Evaluation, agreement, evaluate, evaluate_all
from onefold.measure.paired import Difference, difference
from onefold.measure.path import LinearPath, Triangle, barrier, combine, matching, triangle
from onefold.measure.scores import Scores, reliability, score_logits, score_probabilities

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
