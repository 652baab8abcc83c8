"""Least-squares folding: layers refitted on unlabelled data to the aligned members' features."""

from onefold.fold.least_squares.fold import LeastSquares
from onefold.fold.least_squares.targets import TARGETS

__all__ = ["TARGETS", "LeastSquares"]
